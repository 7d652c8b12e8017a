# `snakemake analysis`: why and how far it transfers. Each included file adds its results.
ANALYSIS = []


rule analysis:
    input:
        lambda wildcards: ANALYSIS,
