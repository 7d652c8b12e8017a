# `snakemake bench`: ratios against the limit and the released script. They are of this machine, so
# nothing else depends on them; run it with nothing else running.
BENCH = f"{RESULTS}/bench"
COMPARISONS = ["released", "evaluation", "growth", "sharing", "epochs", "memory"]


rule bench:
    output:
        training=f"{BENCH}/training.csv",
        others=expand(f"{BENCH}/{{comparison}}.csv", comparison=COMPARISONS),
        markdown=expand(f"{BENCH}/{{comparison}}.md", comparison=["training", *COMPARISONS]),
    threads: 64  # more than there are takes all: nothing may run beside a measurement
    resources:
        **machine("device"),
    params:
        arithmetic=ARITHMETIC,
    shell:
        "ra bench training released evaluation growth memory {params.arithmetic}"
        " {resources.machine} --save-dir {params.save:q} > {log:q} 2>&1"
