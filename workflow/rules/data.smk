rule prepare:
    output:
        PREPARED,
    log:
        f"{DATASET}/data/prepare.log",
    benchmark:
        f"{DATASET}/data/prepare.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=CONFIG.runtime["minutes"],
        workers=CONFIG.runtime["workers"],
    params:
        data=CONFIG.data,
        name=CONFIG.dataset,
        images=flags({k: v for k, v in CONFIG.images.items() if k != "cache"}),
        cache="--cache" if CONFIG.images["cache"] else "--no-cache",
    message:
        "prepare {params.name}: read every image of {params.data} once"
    shell:
        "ra prepare --data {params.data:q} --name {params.name:q} {params.images} {params.cache}"
        " --workers {resources.workers} --save-dir $(dirname {output:q}) 2> {log:q}"
