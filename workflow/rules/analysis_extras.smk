# What the paper did not do, each through the registries: an ensemble as training R, a perceptual
# loss, a second P, and R's that learned the processed images.
EXTRAS = CONFIG.analysis["extras"]
OTHER_PROCESSOR = f"{DATASET}/architectures/{{p_arch}}/{PROCESSOR.removeprefix(DATASET + '/')}"
FINE_TUNED = f"{DATASET}/{{task}}/plain/l0/none/seed{{seed}}/fine_tuned"

# A user's own R may be a program, which nothing trains further.
FINE_TUNED_RS = [r for r in CONFIG.evaluate_recognizers if r not in CONFIG.own_recognizers]


localrules:
    extras,


wildcard_constraints:
    p_arch=r"[A-Za-z0-9_.-]+",


def other_processor_flags(wildcards):
    network = dict(EXTRAS["processors"][wildcards.task])
    return flags({"sr_arch": network.pop("arch"), **network})


use rule train as train_other_processor with:
    output:
        processor=f"{OTHER_PROCESSOR}/processor.safetensors",
        history=f"{OTHER_PROCESSOR}/training.csv",
    log:
        f"{OTHER_PROCESSOR}/train.log",
    benchmark:
        f"{OTHER_PROCESSOR}/train.benchmark.tsv"
    params:
        processor=other_processor_flags,
    message:
        "train P {wildcards.p_arch}: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"


use rule evaluate as evaluate_other_processor with:
    input:
        data=PREPARED,
        processor=f"{OTHER_PROCESSOR}/processor.safetensors",
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{OTHER_PROCESSOR}/evaluation.csv",
        images=f"{OTHER_PROCESSOR}/images.csv",
        strip=f"{OTHER_PROCESSOR}/strip.png",
        matrix=f"{OTHER_PROCESSOR}/accuracy.png",
    log:
        f"{OTHER_PROCESSOR}/evaluate.log",
    benchmark:
        f"{OTHER_PROCESSOR}/evaluate.benchmark.tsv"
    message:
        "evaluate P {wildcards.p_arch}: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"


use rule train_recognizer as fine_tune with:
    input:
        data=PREPARED,
        recognizer=lambda wildcards: recognizer_file(wildcards.arch),
        processor=f"{DATASET}/{{task}}/plain/l0/none/seed{{seed}}/processor.safetensors",
    output:
        model=f"{FINE_TUNED}/{{arch}}/recognizer.safetensors",
        history=f"{FINE_TUNED}/{{arch}}/training.csv",
    log:
        f"{FINE_TUNED}/{{arch}}/train.log",
    benchmark:
        f"{FINE_TUNED}/{{arch}}/train.benchmark.tsv"
    params:
        schedule=lambda wildcards, input: flags(
            {
                **EXTRAS["fine_tune"],
                "seed": wildcards.seed,
                "fine_tune": input.recognizer,
                "model_sr": input.processor,
            }
        ),
    message:
        "train R {wildcards.arch} further, on images of plain P: {wildcards.task} seed {wildcards.seed}"


use rule evaluate as evaluate_fine_tuned with:
    input:
        data=PREPARED,
        processor=f"{DATASET}/{{task}}/plain/l0/none/seed{{seed}}/processor.safetensors",
        recognizers=[f"{FINE_TUNED}/{arch}/recognizer.safetensors" for arch in FINE_TUNED_RS],
    output:
        table=f"{FINE_TUNED}/evaluation.csv",
        images=f"{FINE_TUNED}/images.csv",
        strip=f"{FINE_TUNED}/strip.png",
        matrix=f"{FINE_TUNED}/accuracy.png",
    log:
        f"{FINE_TUNED}/evaluate.log",
    benchmark:
        f"{FINE_TUNED}/evaluate.benchmark.tsv"
    message:
        "evaluate plain P by R's that learned its images: {wildcards.task} seed {wildcards.seed}"


def extras_rows(wildcards):
    """The evaluations of each group of the table."""
    first = CONFIG.train_recognizers[0]
    l = weight(EXTRAS["lambda"])
    main = [("plain", "0", "none"), ("ra", l, first)]
    members = CONFIG.recognizers[:2] if EXTRAS["ensemble"] is None else EXTRAS["ensemble"]
    beside = [("ra", l, "+".join(members))] if len(members) > 1 else []
    beside.append(("perceptual", l, first))
    groups = {"first": [], "other": [], "fine_tuned": []}
    for task in analysis_tasks("extras"):
        for seed in CONFIG.seeds:
            paths = {"first": (PROCESSOR, [*main, *beside])}
            if task in EXTRAS["processors"]:
                paths["other"] = (OTHER_PROCESSOR, main)
            for group, (path, rows) in paths.items():
                p_arch = EXTRAS["processors"].get(task, {}).get("arch")
                groups[group] += [
                    path.format(
                        task=task, objective=objective, l=value, arch=arch, seed=seed, p_arch=p_arch
                    )
                    + "/evaluation.csv"
                    for objective, value, arch in rows
                ]
            if FINE_TUNED_RS:
                groups["fine_tuned"].append(
                    FINE_TUNED.format(task=task, seed=seed) + "/evaluation.csv"
                )
    return groups


def extras_groups(wildcards, input):
    """--group flags, a group a flag."""
    others = dict.fromkeys(network["arch"] for network in EXTRAS["processors"].values())
    names = {
        "first": CONFIG.processor.arch,
        "other": "second P: " + ", ".join(others),
        "fine_tuned": "R fine-tuned",
    }
    groups = extras_rows(wildcards)
    return " ".join(
        flags({"group": [names[key], *paths]}) for key, paths in groups.items() if paths
    )


rule extras:
    input:
        unpack(extras_rows),
    output:
        table=f"{ANALYSES}/extras.csv",
        markdown=f"{ANALYSES}/extras.md",
        plot=f"{ANALYSES}/extras.png",
    log:
        f"{ANALYSES}/extras.log",
    benchmark:
        f"{ANALYSES}/extras.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    params:
        groups=extras_groups,
    message:
        "ensemble, perceptual loss, second P, R's that learned the images"
    shell:
        "ra extras {params.groups} --save-dir $(dirname {output.table:q}) 2> {log:q}"


ANALYSIS += rules.extras.output
