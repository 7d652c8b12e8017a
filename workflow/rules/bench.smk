# `snakemake bench`: ratios against the limit and the released script's way of working. They are
# of this machine, so nothing else depends on them; run it with nothing else running.
BENCH = f"{RESULTS}/bench"


rule bench:
    input:
        f"{BENCH}/training.csv",


rule measure:
    output:
        training=f"{BENCH}/training.csv",
        others=expand(
            f"{BENCH}/{{comparison}}.csv",
            comparison=["released", "evaluation", "growth", "sharing", "epochs"],
        ),
        markdown=expand(
            f"{BENCH}/{{comparison}}.md",
            comparison=["training", "released", "evaluation", "growth", "sharing", "epochs"],
        ),
    log:
        f"{BENCH}/bench.log",
    benchmark:
        f"{BENCH}/bench.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 64  # more than there are takes all: nothing may run beside a measurement
    resources:
        gpu=CONFIG.runtime["gpus"],
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=CONFIG.runtime["minutes"],
        device=CONFIG.runtime["device"],
    params:
        threads=CONFIG.runtime["threads"],
        precision=CONFIG.runtime["precision"],
    message:
        "measure ratios: training, released, evaluation, growth"
    shell:
        "ra bench training released evaluation growth --threads {params.threads}"
        " --precision {params.precision} --device {resources.device}"
        " --save-dir $(dirname {output.training:q}) > {log:q} 2>&1"
