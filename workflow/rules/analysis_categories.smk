# Halves A and B of the classes, each a prepared data set with its own R and P's.
localrules:
    split_classes,
    categories,


wildcard_constraints:
    half="A|B",
    judge="A|B",


rule split_classes:
    input:
        PREPARED,
    output:
        halves=f"{CATEGORIES}/halves.json",
        data=expand(HALF_DATA, half=["A", "B"]),
    log:
        f"{CATEGORIES}/split.log",
    benchmark:
        f"{CATEGORIES}/split.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    params:
        seed=CONFIG.analysis["categories"]["seed"],
    message:
        "split the classes into halves A and B, seed {params.seed}"
    shell:
        "ra split-classes --data $(dirname {input:q}) --seed {params.seed}"
        " --save-dir $(dirname {output.halves:q}) 2> {log:q}"


# From scratch also where the experiment's R's are pretrained: those know both halves.
use rule train_recognizer as train_half_recognizer with:
    input:
        data=HALF_DATA,
    output:
        model=f"{HALF_RECOGNIZER}/recognizer.safetensors",
        history=f"{HALF_RECOGNIZER}/training.csv",
    log:
        f"{HALF_RECOGNIZER}/train.log",
    benchmark:
        f"{HALF_RECOGNIZER}/train.benchmark.tsv"
    params:
        schedule=half_schedule,
        weights="scratch",
    message:
        "train R {wildcards.arch} on half {wildcards.half} of the classes"


use rule train as train_half with:
    input:
        data=HALF_DATA,
        recognizer=half_recognizer,
    output:
        processor=f"{HALF_PROCESSOR}/processor.safetensors",
        history=f"{HALF_PROCESSOR}/training.csv",
    log:
        f"{HALF_PROCESSOR}/train.log",
    benchmark:
        f"{HALF_PROCESSOR}/train.benchmark.tsv"
    message:
        "train P on half {wildcards.half}: {wildcards.task} {wildcards.objective} lambda {wildcards.l} seed {wildcards.seed}"


use rule evaluate as judge_half with:
    input:
        data=f"{CATEGORIES}/{{judge}}/data/dataset.json",
        processor=f"{HALF_PROCESSOR}/processor.safetensors",
        recognizers=f"{CATEGORIES}/{{judge}}/recognizers/{CATEGORIES_R}/recognizer.safetensors",
    output:
        table=f"{JUDGED_HALF}/evaluation.csv",
        images=f"{JUDGED_HALF}/images.csv",
        strip=f"{JUDGED_HALF}/strip.png",
        matrix=f"{JUDGED_HALF}/accuracy.png",
    log:
        f"{JUDGED_HALF}/evaluate.log",
    benchmark:
        f"{JUDGED_HALF}/evaluate.benchmark.tsv"
    message:
        "judge by half {wildcards.judge} P of half {wildcards.half}: {wildcards.task} {wildcards.objective} seed {wildcards.seed}"


rule categories:
    input:
        a=judged_halves("A"),
        b=judged_halves("B"),
    output:
        table=f"{ANALYSES}/categories.csv",
        markdown=f"{ANALYSES}/categories.md",
        plot=report(
            f"{ANALYSES}/categories.png",
            caption="../report/categories.rst",
            category="Transfer",
        ),
    log:
        f"{ANALYSES}/categories.log",
    benchmark:
        f"{ANALYSES}/categories.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    message:
        "transfer to other categories"
    shell:
        "ra categories --trained-on-a {input.a:q} --trained-on-b {input.b:q}"
        " --save-dir $(dirname {output.table:q}) 2> {log:q}"


ANALYSIS += rules.categories.output
