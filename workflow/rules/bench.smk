# `snakemake bench`: ratios against the limit and the released script's way of working. They are
# of this machine, so nothing else depends on them; run it with nothing else running.
BENCH = f"{RESULTS}/bench"


rule bench:
    input:
        f"{BENCH}/training.csv",


rule measure:
    output:
        expand(
            f"{BENCH}/{{comparison}}.{{format}}",
            comparison=[
                "training",
                "released",
                "evaluation",
                "growth",
                "sharing",
                "epochs",
            ],
            format=["csv", "md"],
        ),
    log:
        f"{BENCH}/bench.log",
    benchmark:
        f"{BENCH}/bench.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=CONFIG.runtime["gpus"],
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=CONFIG.runtime["minutes"],
        device=CONFIG.runtime["device"],
    params:
        save_dir=BENCH,
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "measure ratios: training, released, evaluation, growth"
    shell:
        "ra bench training released evaluation growth --threads {params.threads}"
        " --precision {params.precision} --device {resources.device}"
        " --save-dir {params.save_dir:q} > {log:q} 2>&1"
