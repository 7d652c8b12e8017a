localrules:
    lambda_sweep,


rule lambda_sweep:
    input:
        sweep_evaluations,
    output:
        table=f"{ANALYSES}/lambdas.csv",
        markdown=f"{ANALYSES}/lambdas.md",
        plot=report(
            f"{ANALYSES}/lambdas.png",
            caption="../report/lambdas.rst",
            category="Lambda",
        ),
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
