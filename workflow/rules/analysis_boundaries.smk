# How alike the decision boundaries of two R's are, and whether an RA P helps the alike ones more.
BOUNDARIES = f"{ANALYSES}/boundaries"
SURVEY = f"{BOUNDARIES}/{{task}}/ra/l{{l}}/{{arch}}"


# One R has no other to be like.
if surveyed(CONFIG.seeds) and len(CONFIG.recognizers) > 1:
    ANALYSIS += [f"{BOUNDARIES}/boundaries.md"]


rule boundaries:
    input:
        data=PREPARED,
        plain=lambda wildcards: (
            f"{plain_processor(wildcards.task, CONFIG.seeds[0])}/processor.safetensors"
        ),
        aware=lambda wildcards: (
            f"{PROCESSOR.format(objective='ra', seed=CONFIG.seeds[0], **wildcards)}/processor.safetensors"
        ),
        recognizers=[recognizer_file(arch) for arch in CONFIG.recognizers],
    output:
        pairs=f"{SURVEY}/pairs.csv",
        planes=f"{SURVEY}/planes.png",
    log:
        f"{SURVEY}/boundaries.log",
    benchmark:
        f"{SURVEY}/boundaries.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime["threads"]
    resources:
        **evaluation_resources(),
    params:
        survey=flags(
            {
                k: v
                for k, v in CONFIG.analysis["boundaries"].items()
                if k not in ("tasks", "training")
            }
        ),
        threads=CONFIG.runtime["threads"],
    message:
        "boundaries of R's around images of {wildcards.task} ra lambda {wildcards.l} R {wildcards.arch}"
    shell:
        "ra boundaries --data $(dirname {input.data:q}) --plain {input.plain:q} --ra {input.aware:q}"
        " --recognizers {input.recognizers:q} {params.survey} --threads {params.threads}"
        " --device {resources.device} --jobs-per-gpu {resources.jobs_per_gpu}"
        " --save-dir $(dirname {output.pairs:q}) 2> {log:q}"


rule boundaries_table:
    input:
        pairs=[f"{SURVEY}/pairs.csv".format(**p) for p in surveyed(CONFIG.seeds[:1])],
        evaluations=evaluations_of_surveyed,
    output:
        table=f"{BOUNDARIES}/transfer.csv",
        correlation=f"{BOUNDARIES}/correlation.csv",
        markdown=f"{BOUNDARIES}/boundaries.md",
        plot=f"{BOUNDARIES}/scatter.png",
    log:
        f"{BOUNDARIES}/table.log",
    benchmark:
        f"{BOUNDARIES}/table.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    message:
        "similarity of boundaries x transfer gain: {output.markdown}"
    shell:
        "ra boundaries-table --pairs {input.pairs:q} --evaluations {input.evaluations:q}"
        " --save-dir $(dirname {output.table:q}) 2> {log:q}"
