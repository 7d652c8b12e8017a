# Before any GPU is requested: a machine without the files reports it at once. A cluster's nodes
# often have no network.
rule fetch_weights:
    output:
        WEIGHTS,
    localrule: True
    resources:
        **READING,
    params:
        names=flags(
            {"recognizers": [r for r in CONFIG.recognizers if r not in CONFIG.own_recognizers]}
        ),
        weights=fixed(CONFIG.weights),
    shell:
        "ra fetch-weights {params.names} --weights {params.weights:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


# Files of their own: a further measure must not train recognizers again.
use rule fetch_weights as fetch_measures with:
    output:
        f"{MEASURES_FETCHED}/weights.json",
    params:
        names=MEASURED,
        weights="scratch",


rule train_recognizer:
    input:
        data=PREPARED,
        weights=WEIGHTS if CONFIG.weights != "scratch" else [],
    output:
        model=f"{RECOGNIZER}/recognizer.safetensors",
        history=f"{RECOGNIZER}/training.csv",
    threads: CONFIG.runtime["threads"]
    resources:
        **TEAM_TRAINING,
    params:
        weights=fixed(CONFIG.weights),
        models="",
        schedule=lambda wildcards: flags(CONFIG.recognizer_schedules[wildcards.arch]),
        arithmetic=ARITHMETIC,
    shell:
        "{resources.ra} train-recognizer --data {params.data:q} --arch {wildcards.arch:q}"
        " --weights {params.weights:q} {params.models} {params.schedule} {params.arithmetic}"
        " {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
