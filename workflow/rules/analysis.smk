# `snakemake analysis`: why and how far it transfers. Each included file adds its results.
ANALYSIS = []
ANALYSES = f"{RESULTS}/analysis"


def analysis_tasks(name):
    """Tasks of an analysis: those of its key `tasks` that the experiment has, else all."""
    chosen = CONFIG.analysis[name].get("tasks") or []
    return [task for task in chosen if task in CONFIG.tasks] or list(CONFIG.tasks)


rule analysis:
    input:
        lambda wildcards: ANALYSIS,


include: "analysis_categories.smk"
include: "analysis_lambda.smk"
include: "analysis_extras.smk"
