# Before any GPU is requested: a machine without the files reports it at once. A cluster's nodes
# often have no network.
rule fetch_weights:
    output:
        WEIGHTS,
    log:
        f"{DATASET}/recognizers/weights.log",
    benchmark:
        f"{DATASET}/recognizers/weights.benchmark.tsv"
    localrule: True
    resources:
        **READING,
    params:
        names=flags(
            {"recognizers": [r for r in CONFIG.recognizers if r not in CONFIG.own_recognizers]}
        ),
        weights=fixed(CONFIG.weights),
        save=subpath(output[0], parent=True),
    message:
        "fetch pretrained weights {params.weights}"
    shell:
        "ra fetch-weights {params.names} --weights {params.weights:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


# Files of their own: a further measure must not train recognizers again.
use rule fetch_weights as fetch_measures with:
    output:
        f"{MEASURES_FETCHED}/weights.json",
    log:
        f"{MEASURES_FETCHED}/weights.log",
    benchmark:
        f"{MEASURES_FETCHED}/weights.benchmark.tsv"
    params:
        names=MEASURED,
        weights="scratch",
    message:
        "fetch the networks of measures"


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
    threads: CONFIG.runtime["threads"]
    resources:
        **TEAM_TRAINING,
    params:
        data=subpath(input.data, parent=True),
        weights=fixed(CONFIG.weights),
        models="",
        schedule=lambda wildcards: flags(CONFIG.recognizer_schedules[wildcards.arch]),
        arithmetic=ARITHMETIC,
        save=subpath(output.model, parent=True),
    message:
        "train a recognizer: {output.model}"
    shell:
        "{resources.ra} train-recognizer --data {params.data:q} --arch {wildcards.arch:q}"
        " --weights {params.weights:q} {params.models} {params.schedule} {params.arithmetic}"
        " {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
