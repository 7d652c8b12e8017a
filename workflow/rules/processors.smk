rule train:
    input:
        data=PREPARED,
        recognizer=training_recognizer,
    output:
        processor=f"{PROCESSOR}/processor.safetensors",
        history=f"{PROCESSOR}/training.csv",
    log:
        f"{PROCESSOR}/train.log",
    benchmark:
        f"{PROCESSOR}/train.benchmark.tsv"
    wildcard_constraints:
        objective="|".join(o for o in OBJECTIVES if not with_transformer(o)),
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **training_resources(),
        checkpoint_seconds=CONFIG.runtime["checkpoint_seconds"],
    params:
        task=task_flags,
        recognizer=lambda wildcards, input: flags({"recognizer": input.recognizer or None}),
        processor=processor_flags(),
        transformer=transformer_flags,
        schedule=flags(CONFIG.processor_schedule),
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "train P: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
    shell:
        "{resources.launch} train --data $(dirname {input.data:q}) --task {wildcards.task} {params.task}"
        " --mode {wildcards.objective} --l {wildcards.l} --arch {wildcards.arch:q}"
        " {params.recognizer} {params.processor} {params.transformer} {params.schedule}"
        " --seed {wildcards.seed} --precision {params.precision} --threads {params.threads}"
        " --workers {resources.workers} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu}"
        " --checkpoint-seconds {resources.checkpoint_seconds}"
        " --save-dir $(dirname {output.processor:q}) 2> {log:q}"


use rule train as train_with_transformer with:
    output:
        processor=f"{PROCESSOR}/processor.safetensors",
        transformer=f"{PROCESSOR}/transformer.safetensors",
        history=f"{PROCESSOR}/training.csv",
    wildcard_constraints:
        objective="ra_transformer|ra_transform",
    message:
        "train P and T: {wildcards.task} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
