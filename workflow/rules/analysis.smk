# `snakemake analysis`: why and how far it transfers. Each included file adds its results.
ANALYSIS = []
ANALYSES = f"{RESULTS}/analysis"


def analysis_tasks(name):
    """Tasks of an analysis; its key `tasks` is null for all of the experiment's."""
    return CONFIG.analysis[name].get("tasks") or list(CONFIG.tasks)


rule analysis:
    input:
        lambda wildcards: ANALYSIS,


include: "analysis_categories.smk"
include: "analysis_lambda.smk"
include: "analysis_extras.smk"
