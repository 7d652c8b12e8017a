# Processors trained with classifiers, evaluated with a detector, and the other way round.
wildcard_constraints:
    mode="plain|ra",


ANALYSIS += [f"{DETECTION}/detection.md"]


if DETECTION_SETTINGS["data"] == "composed":

    rule compose_detection:
        output:
            train=f"{DETECTION_DATA}/VOC0000/ImageSets/Main/train.txt",
            val=f"{DETECTION_DATA}/VOC0000/ImageSets/Main/val.txt",
        log:
            f"{DETECTION_DATA}/compose.log",
        benchmark:
            f"{DETECTION_DATA}/compose.benchmark.tsv"
        resources:
            **WRITING,
        params:
            side=DETECTION_SETTINGS["side"],
            train=DETECTION_SETTINGS["train_images"],
            val=DETECTION_SETTINGS["val_images"],
            save=subpath(output.train, ancestor=4),
        message:
            "compose a detection set from the embedded photographs"
        shell:
            "ra compose-detection --side {params.side} --train {params.train} --val {params.val}"
            " --save-dir {params.save:q} 2> {log:q}"


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
    threads: CONFIG.runtime["threads"]
    resources:
        **TRAINING,
    params:
        tree=subpath(input[0], ancestor=4),
        settings=fixed(DETECTOR_FLAGS),
        arithmetic=ARITHMETIC,
        save=subpath(output.model, parent=True),
    message:
        "train the detector: {output.model}"
    shell:
        "ra train-detector --data {params.tree:q} {params.settings} {params.arithmetic}"
        " {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


rule train_through_detector:
    input:
        sets=detection_sets("train"),
        detector=f"{DETECTOR}/detector.safetensors",
        weights=FIRST_WEIGHTS,
        plugins=PLUGIN_FILES,
    output:
        processor=f"{THROUGH_DETECTOR}/processor.safetensors",
        history=f"{THROUGH_DETECTOR}/training.csv",
    log:
        f"{THROUGH_DETECTOR}/train.log",
    benchmark:
        f"{THROUGH_DETECTOR}/train.benchmark.tsv"
    threads: CONFIG.runtime["threads"]
    resources:
        **TRAINING,
    params:
        tree=subpath(input[0], ancestor=4),
        task=task_flags,
        networks=fixed(processor_flags(CONFIG.processor)),
        settings=fixed(
            flags({"sets": DETECTION_SETTINGS["train"], **DETECTION_SETTINGS["schedule"]})
        ),
        arithmetic=ARITHMETIC,
        save=subpath(output.processor, parent=True),
    message:
        "train a processor on the detector's images: {output.processor}"
    shell:
        "ra train-through-detector --data {params.tree:q} --detector {input.detector:q}"
        " --task {wildcards.task} {params.task} --mode {wildcards.mode} --l {wildcards.l}"
        " {params.networks} {params.settings} --seed {wildcards.seed} {params.arithmetic} {resources.machine}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


use rule evaluate as evaluate_through_detector with:
    input:
        **evaluation_inputs(processor=f"{THROUGH_DETECTOR}/processor.safetensors"),
    output:
        **evaluation_outputs(THROUGH_DETECTOR),
        card=f"{THROUGH_DETECTOR}/README.md",
    log:
        f"{THROUGH_DETECTOR}/evaluate.log",
    benchmark:
        f"{THROUGH_DETECTOR}/evaluate.benchmark.tsv"


rule evaluate_detection:
    input:
        sets=detection_sets("val"),
        detector=f"{DETECTOR}/detector.safetensors",
        models=evaluated_with_detector,
    output:
        table=f"{DETECTION}/{{task}}/detection.csv",
        picture=f"{DETECTION}/{{task}}/detections.png",
    log:
        f"{DETECTION}/{{task}}/evaluate.log",
    benchmark:
        f"{DETECTION}/{{task}}/evaluate.benchmark.tsv"
    threads: CONFIG.runtime["threads"]
    resources:
        **EVALUATING,
    params:
        tree=subpath(input[0], ancestor=4),
        sets=fixed(flags({"sets": DETECTION_SETTINGS["val"]})),
        threads=THREADS,
        save=subpath(output.table, parent=True),
    message:
        "evaluate processors with the detector: {output.table}"
    shell:
        "ra evaluate-detection --data {params.tree:q} {params.sets} --detector {input.detector:q}"
        " --models {input.models:q} {params.threads}"
        " {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


rule detection_table:
    input:
        detections=[f"{DETECTION}/{task}/detection.csv" for task in analysis_tasks("detection")],
        evaluations=evaluated_with_classifiers,
    output:
        detector=f"{DETECTION}/by_detector.csv",
        classifiers=f"{DETECTION}/by_classifiers.csv",
        markdown=f"{DETECTION}/detection.md",
        plot=f"{DETECTION}/detection.png",
    log:
        f"{DETECTION}/table.log",
    benchmark:
        f"{DETECTION}/table.benchmark.tsv"
    localrule: True
    resources:
        **WRITING,
    params:
        save=subpath(output.markdown, parent=True),
    message:
        "transfer between classifiers and the detector: {output.markdown}"
    shell:
        "ra detection-table --detections {input.detections:q} --evaluations {input.evaluations:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
