# Every processor, and none, on a published corrupted set (ImageNet-C), which is not downloaded.
wildcard_constraints:
    corruption="|".join(map(re.escape, CORRUPTIONS or [])) or "(?!)",


rule prepare_corruption:
    input:
        like=PREPARED,
    output:
        CORRUPTED_DATA,
    resources:
        **READING,
        workers=CONFIG.runtime["workers"],
    params:
        data=fixed(str(CORRUPTED_SET["data"])),
        like=subpath(input.like, parent=True),
        images=fixed(
            flags(
                chosen(CONFIG.images, "crop", "cache", "on_bad_image")
                | chosen(CORRUPTED_SET, "resize")
            )
        ),
        changed=lambda wildcards: listing(CORRUPTED_SET["data"] / wildcards.corruption),
    message:
        "read the corruption {wildcards.corruption} of {params.data} once"
    shell:
        "ra prepare-corruption --data {params.data:q} --corruption {wildcards.corruption:q}"
        " --like {params.like:q} {params.images} --workers {resources.workers}"
        " --save-dir {params.save:q} 2> {log:q}"


use rule evaluate as evaluate_corruption with:
    input:
        **evaluation_inputs(
            CORRUPTED_DATA,
            processor=f"{PROCESSOR}/processor.safetensors",
            transformer=transformer_of,
        ),
    output:
        **evaluation_outputs(f"{CORRUPTED}/{BELOW}"),


use rule evaluate as evaluate_corruption_unprocessed with:
    input:
        **evaluation_inputs(CORRUPTED_DATA),
    output:
        **evaluation_outputs(f"{CORRUPTED}/{{task}}/no_processing"),


rule corruptions:
    input:
        corrupted_evaluations,
    output:
        table=f"{ANALYSES}/corruptions/corruptions.csv",
        relative=f"{ANALYSES}/corruptions/mce.csv",
        markdown=f"{ANALYSES}/corruptions/corruptions.md",
        plot=plot_of("corruptions/corruptions", "Corruptions"),
    localrule: True
    resources:
        **WRITING,
    params:
        relative_to=CORRUPTED_SET["relative_to"] or CONFIG.evaluate_recognizers[0],
    shell:
        "ra corruptions --evaluations {input:q} --relative-to {params.relative_to:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


ANALYSIS += rules.corruptions.output if CORRUPTIONS else []
