localrules:
    lambda_sweep,


# The sweep's P's are those of the default experiment where the lambdas are the same.
def sweep_evaluations(wildcards):
    swept = {"plain": [0], **CONFIG.analysis["lambdas"]["objectives"]}
    return [
        PROCESSOR.format(
            task=task,
            objective=objective,
            l=weight(value),
            arch="none" if objective == "plain" else CONFIG.train_recognizers[0],
            seed=seed,
        )
        + "/evaluation.csv"
        for task in analysis_tasks("lambdas")
        for objective, values in swept.items()
        for value in (values if isinstance(values, list) else [values])
        for seed in CONFIG.seeds
    ]


rule lambda_sweep:
    input:
        sweep_evaluations,
    output:
        table=f"{ANALYSES}/lambdas.csv",
        markdown=f"{ANALYSES}/lambdas.md",
        plot=f"{ANALYSES}/lambdas.png",
    log:
        f"{ANALYSES}/lambdas.log",
    benchmark:
        f"{ANALYSES}/lambdas.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    params:
        training_r=CONFIG.train_recognizers[0],
    message:
        "lambda sweep: accuracy against image quality"
    shell:
        "ra lambda-sweep --training-r {params.training_r:q} --evaluations {input:q}"
        " --save-dir $(dirname {output.table:q}) 2> {log:q}"


ANALYSIS += rules.lambda_sweep.output
