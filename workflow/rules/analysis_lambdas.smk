rule lambda_sweep:
    input:
        sweep_evaluations,
    output:
        table=f"{ANALYSES}/lambdas.csv",
        markdown=f"{ANALYSES}/lambdas.md",
        plot=plot_of("lambdas", "Choice of lambda"),
    localrule: True
    resources:
        **WRITING,
    params:
        training_r=CONFIG.train_recognizers[0],
    shell:
        "ra lambda-sweep --training-r {params.training_r:q} --evaluations {input:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"


ANALYSIS += rules.lambda_sweep.output
