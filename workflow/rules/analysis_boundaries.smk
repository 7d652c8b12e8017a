# How alike the decision boundaries of two recognizers are, and whether a recognition-aware
# processor helps the alike ones more.
BOUNDARIES = f"{ANALYSES}/boundaries"
SURVEY = f"{BOUNDARIES}/{{task}}/ra/l{{l}}/{{arch}}"


# One recognizer has no other to be like.
if surveyed(CONFIG.seeds) and len(CONFIG.recognizers) > 1:
    ANALYSIS += [f"{BOUNDARIES}/boundaries.md"]


rule boundaries:
    input:
        data=PREPARED,
        plain=lambda wildcards: f"{plain_processor(wildcards.task, CONFIG.seeds[0])}/processor.safetensors",
        aware=lambda wildcards: (
            f"{PROCESSOR}/processor.safetensors".format(
                objective="ra", seed=CONFIG.seeds[0], **wildcards
            )
        ),
        recognizers=[recognizer_file(arch) for arch in CONFIG.recognizers],
        files=user_files(CONFIG.recognizers),
    output:
        pairs=f"{SURVEY}/pairs.csv",
        planes=f"{SURVEY}/planes.png",
    threads: CONFIG.runtime["threads"]
    resources:
        **ANALYSING,
    params:
        survey=flags(without(CONFIG.analysis["boundaries"], "tasks", "training")),
        threads=THREADS,
    shell:
        "ra boundaries --data {params.data:q} --plain {input.plain:q} --ra {input.aware:q}"
        " --recognizers {input.recognizers:q} {params.survey} {params.threads}"
        " {resources.machine} {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


rule boundaries_table:
    input:
        pairs=[f"{SURVEY}/pairs.csv".format(**p) for p in surveyed(CONFIG.seeds[:1])],
        evaluations=evaluations_of_surveyed,
    output:
        table=f"{BOUNDARIES}/transfer.csv",
        correlation=f"{BOUNDARIES}/correlation.csv",
        markdown=f"{BOUNDARIES}/boundaries.md",
        plot=f"{BOUNDARIES}/scatter.png",
    resources:
        **WRITING,
    shell:
        "ra boundaries-table --pairs {input.pairs:q} --evaluations {input.evaluations:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
