# A recognizer known only by its answers; without one of the user's it is an R behind a command.
BLACK_BOX = f"{ANALYSES}/black_box"


def hidden_recognizer():
    """The R behind the default black box: one that trains no P; None if all do."""
    named = CONFIG.analysis["black_box"]["recognizer"]
    free = [arch for arch in CONFIG.evaluate_recognizers if arch not in CONFIG.train_recognizers]
    return named or (free or [None])[-1]


def is_hidden_recognizer():
    settings = CONFIG.analysis["black_box"]
    return not (settings["command"] or settings["url"])


def shown_to_black_box():
    """(plain P, RA P) of every task and training R: the first lambda and seed."""
    if not {"plain", "ra"} <= set(CONFIG.objectives):
        return []
    return [
        (
            plain_processor(task, CONFIG.seeds[0]),
            PROCESSOR.format(
                task=task,
                objective="ra",
                l=weight(CONFIG.objectives["ra"][0]),
                arch=arch,
                seed=CONFIG.seeds[0],
            ),
        )
        for task in analysis_tasks("black_box")
        for arch in CONFIG.train_recognizers
    ]


def black_box_flags(wildcards, input):
    settings = dict(CONFIG.analysis["black_box"])
    for key in ("tasks", "recognizer"):
        settings.pop(key)
    program = settings.pop("command")
    if is_hidden_recognizer():
        program = ["ra", "predict-label", "--threads", str(CONFIG.runtime["threads"])]
        program += ["--device", CONFIG.runtime["device"]]
        program += ["--recognizer", str(input.recognizer), "{files}"]
    return flags(settings | {"command": program and shlex.join(program)})


if shown_to_black_box() and (hidden_recognizer() or not is_hidden_recognizer()):
    ANALYSIS += [f"{BLACK_BOX}/agreement.md"]


rule black_box:
    input:
        data=PREPARED,
        plain=[f"{plain}/processor.safetensors" for plain, _ in shown_to_black_box()],
        aware=[f"{aware}/processor.safetensors" for _, aware in shown_to_black_box()],
        recognizer=(
            recognizer_file(hidden_recognizer())
            if is_hidden_recognizer() and hidden_recognizer()
            else []
        ),
    output:
        answers=f"{BLACK_BOX}/answers.csv",
        table=f"{BLACK_BOX}/agreement.csv",
        markdown=f"{BLACK_BOX}/agreement.md",
        sheet=f"{BLACK_BOX}/sheet.csv",
        key=f"{BLACK_BOX}/key.csv",
    log:
        f"{BLACK_BOX}/black_box.log",
    benchmark:
        f"{BLACK_BOX}/black_box.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
    params:
        box=black_box_flags,
        threads=CONFIG.runtime["threads"],
    message:
        "ask a black box about plain and RA images"
    shell:
        "ra black-box --data $(dirname {input.data:q}) --plain {input.plain:q} --ra {input.aware:q}"
        " {params.box} --threads {params.threads} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu} --save-dir $(dirname {output.table:q})"
        " > {log:q} 2>&1"
