# `snakemake analysis`: why and how far it transfers. Each included file adds its results.
ANALYSIS = []


include: "analysis_paths.smk"


rule analysis:
    input:
        lambda wildcards: ANALYSIS,


include: "analysis_categories.smk"
include: "analysis_corruptions.smk"
include: "analysis_lambdas.smk"
include: "analysis_extras.smk"
include: "analysis_boundaries.smk"
include: "analysis_black_box.smk"
include: "analysis_kinds.smk"
