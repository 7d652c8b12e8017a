# Halves A and B of the classes, each a prepared data set with its own recognizer and processors.
wildcard_constraints:
    half="A|B",
    other="A|B",


rule split_classes:
    input:
        PREPARED,
    output:
        halves=f"{CATEGORIES}/halves.json",
        data=expand(HALF_DATA, half=["A", "B"]),
    localrule: True
    resources:
        **WRITING,
    params:
        data=subpath(input[0], parent=True),
        seed=CONFIG.analysis["categories"]["seed"],
    shell:
        "ra split-classes --data {params.data:q} --seed {params.seed}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


# From scratch even if the experiment's recognizers are pretrained: those know both halves.
use rule train_recognizer as train_half_recognizer with:
    input:
        data=HALF_DATA,
    output:
        model=f"{HALF_RECOGNIZER}/recognizer.safetensors",
        history=f"{HALF_RECOGNIZER}/training.csv",
    params:
        schedule=lambda wildcards: flags(
            CONFIG.recognizer_schedules[wildcards.arch] | CONFIG.analysis["categories"]["schedule"]
        ),
        weights="scratch",


use rule train as train_half with:
    input:
        data=HALF_DATA,
        recognizer=lambda wildcards: [f"{HALF_RECOGNIZER}/recognizer.safetensors"][
            : len(training_names(wildcards))
        ],
        weights=FIRST_WEIGHTS,
        plugins=PLUGIN_FILES,
    output:
        **trained(HALF_PROCESSOR),


use rule evaluate as evaluate_half with:
    input:
        data=HALF_DATA.replace("{half}", "{other}"),
        processor=f"{HALF_PROCESSOR}/processor.safetensors",
        recognizers=f"{CATEGORIES}/{{other}}/recognizers/{CATEGORIES_R}/recognizer.safetensors",
        plugins=PLUGIN_FILES,
        weights=MEASURE_WEIGHTS,
    output:
        **evaluation_outputs(HALF_EVALUATED),


use rule evaluate_clean as evaluate_half_clean with:
    input:
        data=HALF_DATA,
        recognizers=f"{HALF}/recognizers/{CATEGORIES_R}/recognizer.safetensors",
        plugins=PLUGIN_FILES,
    output:
        **evaluation_outputs(f"{HALF}/clean"),


rule categories:
    input:
        a=evaluated_halves("A"),
        b=evaluated_halves("B"),
    output:
        table=f"{ANALYSES}/categories.csv",
        markdown=f"{ANALYSES}/categories.md",
        plot=plot_of("categories", "Other categories"),
    localrule: True
    resources:
        **WRITING,
    shell:
        "ra categories --trained-on-a {input.a:q} --trained-on-b {input.b:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


ANALYSIS += rules.categories.output
