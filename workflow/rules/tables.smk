rule tables:
    input:
        f"{TABLES}/all.csv",


rule table:
    input:
        all_evaluations,
    output:
        tidy=f"{TABLES}/all.csv",
        tables=expand(
            f"{TABLES}/{{table}}.{{format}}",
            table=TABLE_NAMES,
            format=["csv", "md"],
        ),
    log:
        f"{TABLES}/table.log",
    benchmark:
        f"{TABLES}/table.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    params:
        recognizers=flags({"recognizers": CONFIG.evaluate_recognizers}),
        paper="--paper" if CONFIG.paper else "",
    message:
        "write the tables to {TABLES}"
    shell:
        "ra table {params.recognizers} {params.paper} --evaluations {input:q}"
        " --save-dir $(dirname {output.tidy:q}) 2> {log:q}"
