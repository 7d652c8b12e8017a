rule evaluate:
    input:
        data=PREPARED,
        processor=f"{PROCESSOR}/processor.safetensors",
        transformer=transformer_of,
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{PROCESSOR}/evaluation.csv",
        images=f"{PROCESSOR}/images.csv",
        strip=f"{PROCESSOR}/strip.png",
        matrix=f"{PROCESSOR}/accuracy.png",
    params:
        task=task_flags,
        model=lambda wildcards, input: flags(
            {"model_sr": input.processor, "model_transformer": input.transformer or None}
        ),
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    log:
        f"{PROCESSOR}/evaluate.log",
    benchmark:
        f"{PROCESSOR}/evaluate.benchmark.tsv"
    threads: CONFIG.runtime["threads"]
    resources:
        **training_resources(),
    conda:
        "ra"
    message:
        "evaluate P by every R: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
    shell:
        "ra evaluate --data $(dirname {input.data:q}) --task {wildcards.task} {params.task}"
        " {params.model} --recognizers {input.recognizers:q} --precision {params.precision}"
        " --threads {params.threads} --workers {resources.workers} --device {resources.device}"
        " --save-dir $(dirname {output.table:q}) 2> {log:q}"


use rule evaluate as evaluate_no_processing with:
    input:
        data=PREPARED,
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{NO_PROCESSING}/evaluation.csv",
        images=f"{NO_PROCESSING}/images.csv",
        strip=f"{NO_PROCESSING}/strip.png",
        matrix=f"{NO_PROCESSING}/accuracy.png",
    params:
        task=task_flags,
        model="--model-sr none",
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    log:
        f"{NO_PROCESSING}/evaluate.log",
    benchmark:
        f"{NO_PROCESSING}/evaluate.benchmark.tsv"
    message:
        "evaluate degraded images by every R: {wildcards.task}"
