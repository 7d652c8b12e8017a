# What the paper did not do, each through the registries: an ensemble as training R, a perceptual
# loss, a second P, and R's that learned the processed images.
localrules:
    extras,


wildcard_constraints:
    p_arch=r"[A-Za-z0-9_.-]+",


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
        processor=f"{PLAIN}/processor.safetensors",
    output:
        model=f"{FINE_TUNED}/{{arch}}/recognizer.safetensors",
        history=f"{FINE_TUNED}/{{arch}}/training.csv",
    log:
        f"{FINE_TUNED}/{{arch}}/train.log",
    benchmark:
        f"{FINE_TUNED}/{{arch}}/train.benchmark.tsv"
    params:
        schedule=fine_tune_flags,
    message:
        "train R {wildcards.arch} further, on images of plain P: {wildcards.task} seed {wildcards.seed}"


use rule evaluate as evaluate_fine_tuned with:
    input:
        data=PREPARED,
        processor=f"{PLAIN}/processor.safetensors",
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


rule extras:
    input:
        unpack(extras_rows),
    output:
        table=f"{ANALYSES}/extras.csv",
        markdown=f"{ANALYSES}/extras.md",
        plot=report(
            f"{ANALYSES}/extras.png",
            caption="../report/extras.rst",
            category="Analysis",
        ),
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
