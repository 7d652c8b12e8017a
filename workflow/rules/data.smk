rule prepare:
    output:
        PREPARED,
    resources:
        **READING,
        workers=CONFIG.runtime["workers"],
    params:
        data=fixed(CONFIG.data),
        name=CONFIG.dataset,
        images=fixed(flags({**CONFIG.images, "inputs": CONFIG.inputs})),
        # Added and replaced files re-run it.
        changed=lambda wildcards: "".join(map(listing, filter(None, [CONFIG.data, CONFIG.inputs]))),
    message:
        "prepare {params.name}: read every image of {params.data} once"
    shell:
        "ra prepare --data {params.data:q} --name {params.name:q} {params.images}"
        " --workers {resources.workers} --save-dir {params.save:q} 2> {log:q}"
