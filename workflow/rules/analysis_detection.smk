# P's trained with classifiers, judged by a detector; P's trained with a detector, judged by
# classifiers.
localrules:
    detection_table,


wildcard_constraints:
    mode="plain|ra",


ANALYSIS += [f"{DETECTION}/detection.md"]


if CONFIG.analysis["detection"]["data"] == "composed":

    rule compose_detection:
        output:
            train=f"{DETECTION_DATA}/VOC0000/ImageSets/Main/train.txt",
            val=f"{DETECTION_DATA}/VOC0000/ImageSets/Main/val.txt",
        log:
            f"{DETECTION_DATA}/compose.log",
        benchmark:
            f"{DETECTION_DATA}/compose.benchmark.tsv"
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            gpu=0,
            mem_mb=CONFIG.runtime["mem_mb"],
            runtime=10,
        params:
            folder=lambda wildcards, output: str(Path(output.train).parents[3]),
            side=CONFIG.analysis["detection"]["side"],
            train=CONFIG.analysis["detection"]["train_images"],
            val=CONFIG.analysis["detection"]["val_images"],
        message:
            "compose a detection set from the embedded photographs"
        shell:
            "ra compose-detection --side {params.side} --train {params.train} --val {params.val}"
            " --save-dir {params.folder:q} 2> {log:q}"


rule train_detector:
    input:
        sets=detection_sets("train"),
    output:
        model=f"{DETECTOR}/detector.safetensors",
        history=f"{DETECTOR}/training.csv",
    log:
        f"{DETECTOR}/train.log",
    benchmark:
        f"{DETECTOR}/train.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
        checkpoint_seconds=CONFIG.runtime["checkpoint_seconds"],
    params:
        tree=voc_tree,
        settings=flags(
            {
                "sets": CONFIG.analysis["detection"]["train"],
                "name": CONFIG.analysis["detection"]["name"],
                "arch": CONFIG.analysis["detection"]["detector"],
                "weights": CONFIG.analysis["detection"]["weights"],
                "side": CONFIG.analysis["detection"]["side"],
                **CONFIG.analysis["detection"]["detector_schedule"],
                "threads": CONFIG.runtime["threads"],
                "precision": CONFIG.runtime["precision"],
            }
        ),
    message:
        "train the detector on {params.tree}"
    shell:
        "ra train-detector --data {params.tree:q} {params.settings} --workers {resources.workers}"
        " --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu}"
        " --checkpoint-seconds {resources.checkpoint_seconds}"
        " --save-dir $(dirname {output.model:q}) 2> {log:q}"


rule train_through_detector:
    input:
        sets=detection_sets("train"),
        detector=f"{DETECTOR}/detector.safetensors",
    output:
        processor=f"{THROUGH_DETECTOR}/processor.safetensors",
        history=f"{THROUGH_DETECTOR}/training.csv",
    log:
        f"{THROUGH_DETECTOR}/train.log",
    benchmark:
        f"{THROUGH_DETECTOR}/train.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
        checkpoint_seconds=CONFIG.runtime["checkpoint_seconds"],
    params:
        tree=voc_tree,
        task=task_flags,
        processor=processor_flags(),
        settings=flags(
            {
                "sets": CONFIG.analysis["detection"]["train"],
                **CONFIG.analysis["detection"]["schedule"],
                "threads": CONFIG.runtime["threads"],
                "precision": CONFIG.runtime["precision"],
            }
        ),
    message:
        "train P on the detector's images: {wildcards.task} {wildcards.mode} lambda {wildcards.l} seed {wildcards.seed}"
    shell:
        "ra train-through-detector --data {params.tree:q} --detector {input.detector:q}"
        " --task {wildcards.task} {params.task} --mode {wildcards.mode} --l {wildcards.l}"
        " {params.processor} {params.settings} --seed {wildcards.seed}"
        " --workers {resources.workers} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu}"
        " --checkpoint-seconds {resources.checkpoint_seconds}"
        " --save-dir $(dirname {output.processor:q}) 2> {log:q}"


use rule evaluate as evaluate_through_detector with:
    input:
        data=PREPARED,
        processor=f"{THROUGH_DETECTOR}/processor.safetensors",
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
    output:
        table=f"{THROUGH_DETECTOR}/evaluation.csv",
        images=f"{THROUGH_DETECTOR}/images.csv",
        strip=f"{THROUGH_DETECTOR}/strip.png",
        matrix=f"{THROUGH_DETECTOR}/accuracy.png",
    log:
        f"{THROUGH_DETECTOR}/evaluate.log",
    benchmark:
        f"{THROUGH_DETECTOR}/evaluate.benchmark.tsv"
    message:
        "evaluate P of a detector by every R: {wildcards.task} {wildcards.mode} lambda {wildcards.l} seed {wildcards.seed}"


rule judge_detection:
    input:
        sets=detection_sets("val"),
        detector=f"{DETECTOR}/detector.safetensors",
        models=judged_by_detector,
    output:
        table=f"{DETECTION}/{{task}}/detection.csv",
        picture=f"{DETECTION}/{{task}}/detections.png",
    log:
        f"{DETECTION}/{{task}}/judge.log",
    benchmark:
        f"{DETECTION}/{{task}}/judge.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
    params:
        tree=voc_tree,
        sets=flags({"sets": CONFIG.analysis["detection"]["val"]}),
        rounds=CONFIG.analysis["detection"]["rounds"],
        threads=CONFIG.runtime["threads"],
    message:
        "judge P's by the detector: {wildcards.task}"
    shell:
        "ra judge-detection --data {params.tree:q} {params.sets} --detector {input.detector:q}"
        " --models {input.models:q} --rounds {params.rounds} --threads {params.threads}"
        " --workers {resources.workers} --device {resources.device}"
        " --jobs-per-gpu {resources.jobs_per_gpu} --save-dir $(dirname {output.table:q})"
        " 2> {log:q}"


rule detection_table:
    input:
        detections=[f"{DETECTION}/{task}/detection.csv" for task in analysis_tasks("detection")],
        evaluations=judged_by_classifiers,
    output:
        detector=f"{DETECTION}/by_detector.csv",
        classifiers=f"{DETECTION}/by_classifiers.csv",
        markdown=f"{DETECTION}/detection.md",
        plot=f"{DETECTION}/detection.png",
    log:
        f"{DETECTION}/table.log",
    benchmark:
        f"{DETECTION}/table.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    message:
        "transfer between classifiers and the detector: {output.markdown}"
    shell:
        "ra detection-table --detections {input.detections:q} --evaluations {input.evaluations:q}"
        " --save-dir $(dirname {output.markdown:q}) 2> {log:q}"
