rule evaluate:
    input:
        data=PREPARED,
        processor=f"{PROCESSOR}/processor.safetensors",
        transformer=transformer_of,
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{PROCESSOR}/evaluation.csv",
        images=f"{PROCESSOR}/images.csv",
        strip=report(
            f"{PROCESSOR}/strip.png",
            caption="../report/strip.rst",
            category="Visual strips",
            labels={
                "task": "{task}",
                "objective": "{objective}",
                "lambda": "{l}",
                "training R": "{arch}",
            },
        ),
        matrix=report(
            f"{PROCESSOR}/accuracy.png",
            caption="../report/matrix.rst",
            category="Accuracy of each P",
            labels={
                "task": "{task}",
                "objective": "{objective}",
                "lambda": "{l}",
                "training R": "{arch}",
            },
        ),
    log:
        f"{PROCESSOR}/evaluate.log",
    benchmark:
        f"{PROCESSOR}/evaluate.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
    params:
        task=task_flags,
        model=model_flags,
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "evaluate P by every R: {wildcards.task} {wildcards.objective} lambda {wildcards.l} R {wildcards.arch} seed {wildcards.seed}"
    shell:
        "ra evaluate --data $(dirname {input.data:q}) --task {wildcards.task} {params.task}"
        " {params.model} --recognizers {input.recognizers:q} --precision {params.precision}"
        " --threads {params.threads} --workers {resources.workers} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu}"
        " --save-dir $(dirname {output.table:q}) 2> {log:q}"


use rule evaluate as evaluate_no_processing with:
    input:
        data=PREPARED,
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{NO_PROCESSING}/evaluation.csv",
        images=f"{NO_PROCESSING}/images.csv",
        strip=report(
            f"{NO_PROCESSING}/strip.png",
            caption="../report/strip.rst",
            category="Visual strips",
            labels={
                "task": "{task}",
                "objective": "no processing",
                "lambda": "-",
                "training R": "-",
            },
        ),
        matrix=report(
            f"{NO_PROCESSING}/accuracy.png",
            caption="../report/matrix.rst",
            category="Accuracy of each P",
            labels={
                "task": "{task}",
                "objective": "no processing",
                "lambda": "-",
                "training R": "-",
            },
        ),
    log:
        f"{NO_PROCESSING}/evaluate.log",
    benchmark:
        f"{NO_PROCESSING}/evaluate.benchmark.tsv"
    message:
        "evaluate degraded images by every R: {wildcards.task}"
