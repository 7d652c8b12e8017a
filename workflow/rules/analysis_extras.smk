# What the paper did not do, each through the registries: an ensemble as training recognizer, other
# objectives, a second processor, and recognizers that learned the processed images.
wildcard_constraints:
    p_arch=r"[A-Za-z0-9_.-]+",


use rule train as train_other_processor with:
    output:
        **trained(OTHER_PROCESSOR),
    params:
        networks=lambda wildcards: processor_flags(EXTRAS["processors"][wildcards.task]),


use rule evaluate as evaluate_other_processor with:
    input:
        **evaluation_inputs(processor=f"{OTHER_PROCESSOR}/processor.safetensors"),
    output:
        **evaluation_outputs(OTHER_PROCESSOR),
        card=f"{OTHER_PROCESSOR}/README.md",


use rule train_recognizer as fine_tune with:
    input:
        data=PREPARED,
        recognizer=lambda wildcards: recognizer_file(wildcards.arch),
        processor=f"{PLAIN}/processor.safetensors",
    output:
        model=f"{FINE_TUNED}/{{arch}}/recognizer.safetensors",
        history=f"{FINE_TUNED}/{{arch}}/training.csv",
    params:
        models=lambda wildcards, input: flags(
            {"fine_tune": input.recognizer, "model_sr": input.processor}
        ),
        schedule=lambda wildcards: flags({**EXTRAS["fine_tune"], "seed": wildcards.seed}),


use rule evaluate as evaluate_fine_tuned with:
    input:
        data=PREPARED,
        processor=f"{PLAIN}/processor.safetensors",
        recognizers=[f"{FINE_TUNED}/{arch}/recognizer.safetensors" for arch in FINE_TUNED_RS],
        weights=MEASURE_WEIGHTS,
    output:
        **evaluation_outputs(FINE_TUNED),


use rule evaluate as evaluate_together with:
    input:
        data=PREPARED,
        processor=f"{PROCESSOR}/processor.safetensors",
        recognizers=f"{PROCESSOR}/recognizer.safetensors",
        plugins=PLUGIN_FILES,
    output:
        **evaluation_outputs(TOGETHER),


rule extras:
    input:
        unpack(extras_rows),
    output:
        table=f"{ANALYSES}/extras.csv",
        markdown=f"{ANALYSES}/extras.md",
        plot=plot_of("extras", "Beyond the paper"),
    localrule: True
    resources:
        **WRITING,
    params:
        groups=extras_groups,
    shell:
        "ra extras {params.groups} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


ANALYSIS += rules.extras.output
