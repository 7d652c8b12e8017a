rule prepare:
    output:
        PREPARED,
    log:
        f"{DATASET}/data/prepare.log",
    benchmark:
        f"{DATASET}/data/prepare.benchmark.tsv"
    resources:
        **READING,
        workers=CONFIG.runtime["workers"],
    params:
        data=fixed(CONFIG.data),
        name=CONFIG.dataset,
        images=flags(CONFIG.images),
        changed=lambda wildcards: listing(CONFIG.data),  # added and replaced files re-run it
        save=subpath(output[0], parent=True),
    message:
        "prepare {params.name}: read every image of {params.data} once"
    shell:
        "ra prepare --data {params.data:q} --name {params.name:q} {params.images}"
        " --workers {resources.workers} --save-dir {params.save:q} 2> {log:q}"
