WEIGHTS = f"{DATASET}/recognizers/weights.json"


# Before any GPU is asked for: a machine without the files says so at once.
rule fetch_weights:
    output:
        WEIGHTS,
    log:
        f"{DATASET}/recognizers/weights.log",
    benchmark:
        f"{DATASET}/recognizers/weights.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=CONFIG.runtime["minutes"],
    params:
        recognizers=flags(
            {"recognizers": [r for r in CONFIG.recognizers if r not in CONFIG.own_recognizers]}
        ),
        weights=CONFIG.weights,
    message:
        "fetch pretrained weights {params.weights}"
    shell:
        "ra fetch-weights {params.recognizers} --weights {params.weights:q}"
        " --save-dir $(dirname {output:q}) 2> {log:q}"


rule train_recognizer:
    input:
        data=PREPARED,
        weights=WEIGHTS if CONFIG.weights != "scratch" else [],
    output:
        model=f"{RECOGNIZER}/recognizer.safetensors",
        history=f"{RECOGNIZER}/training.csv",
    log:
        f"{RECOGNIZER}/train.log",
    benchmark:
        f"{RECOGNIZER}/train.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **training_resources(),
        checkpoint_seconds=CONFIG.runtime["checkpoint_seconds"],
    params:
        schedule=lambda wildcards: flags(CONFIG.recognizer_schedules[wildcards.arch]),
        weights=CONFIG.weights,
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "train R {wildcards.arch} on the clean images"
    shell:
        "{resources.launch} train-recognizer --data $(dirname {input.data:q}) --arch {wildcards.arch:q}"
        " --weights {params.weights:q} {params.schedule} --precision {params.precision}"
        " --threads {params.threads} --workers {resources.workers} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu}"
        " --checkpoint-seconds {resources.checkpoint_seconds}"
        " --save-dir $(dirname {output.model:q}) 2> {log:q}"
