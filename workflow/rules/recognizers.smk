rule train_recognizer:
    input:
        data=PREPARED,
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
    params:
        schedule=lambda wildcards: flags(CONFIG.recognizer_schedules[wildcards.arch]),
        weights=CONFIG.weights,
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "train R {wildcards.arch} on the clean images"
    shell:
        "ra train-recognizer --data $(dirname {input.data:q}) --arch {wildcards.arch:q}"
        " --weights {params.weights:q} {params.schedule} --precision {params.precision}"
        " --threads {params.threads} --workers {resources.workers} --device {resources.device}"
        " --save-dir $(dirname {output.model:q}) 2> {log:q}"
