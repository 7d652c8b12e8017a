# A recognizer known only by its answers; without one of the user's it is an R behind a command.
BLACK_BOX = f"{ANALYSES}/black_box"


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
