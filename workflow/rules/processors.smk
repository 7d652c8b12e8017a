rule train:
    input:
        data=PREPARED,
        recognizer=training_recognizer,
    output:
        processor=f"{PROCESSOR}/processor.safetensors",
        history=f"{PROCESSOR}/training.csv",
    params:
        task=task_flags,
        recognizer=lambda wildcards, input: flags({"recognizer": input.recognizer or None}),
        processor=f"--sr-arch {CONFIG.processor.arch} {network_flags(CONFIG.processor)}",
        transformer="",
        schedule=flags(CONFIG.processor_schedule),
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    wildcard_constraints:
        objective="|".join(o for o in CONFIG.objectives if "transform" not in o) or "none",
    log:
        f"{PROCESSOR}/train.log",
    benchmark:
        f"{PROCESSOR}/train.benchmark.tsv"
    threads: CONFIG.runtime["threads"]
    resources:
        **training_resources(),
        checkpoint_seconds=CONFIG.runtime["checkpoint_seconds"],
    conda:
        "ra"
    message:
        "train P: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
    shell:
        "ra train --data $(dirname {input.data:q}) --task {wildcards.task} {params.task}"
        " --mode {wildcards.objective} --l {wildcards.l} --arch {wildcards.arch:q}"
        " {params.recognizer} {params.processor} {params.transformer} {params.schedule}"
        " --seed {wildcards.seed} --precision {params.precision} --threads {params.threads}"
        " --workers {resources.workers} --device {resources.device}"
        " --checkpoint-seconds {resources.checkpoint_seconds}"
        " --save-dir $(dirname {output.processor:q}) 2> {log:q}"


use rule train as train_with_transformer with:
    output:
        processor=f"{PROCESSOR}/processor.safetensors",
        transformer=f"{PROCESSOR}/transformer.safetensors",
        history=f"{PROCESSOR}/training.csv",
    params:
        task=task_flags,
        recognizer=lambda wildcards, input: flags({"recognizer": input.recognizer or None}),
        processor=f"--sr-arch {CONFIG.processor.arch} {network_flags(CONFIG.processor)}",
        transformer=f"--transformer-arch {CONFIG.transformer.arch} {network_flags(CONFIG.transformer, 'transformer-')}",
        schedule=flags(CONFIG.processor_schedule),
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    wildcard_constraints:
        objective="ra_transformer|ra_transform",
    message:
        "train P and T: {wildcards.task} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
