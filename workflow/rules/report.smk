# `snakemake report`: one page for a colleague. Everything, by category and with captions, is
# Snakemake's own `snakemake --report results/report.html`.
REPORT = f"{RESULTS}/report"


rule report:
    input:
        f"{REPORT}/report.html",


rule write_report:
    input:
        evaluations=table_evaluations,
        images=table_images,
        data=PREPARED,
        significance=f"{TABLES}/significance.csv",
    output:
        page=report(
            f"{REPORT}/report.html",
            caption="../report/page.rst",
            category="Tables",
        ),
        bars=report(
            f"{REPORT}/bars.svg",
            caption="../report/bars.rst",
            category="Tables",
        ),
        gains=report(
            f"{REPORT}/gains.svg",
            caption="../report/gains.rst",
            category="Transfer",
        ),
        plane=report(
            f"{REPORT}/plane.svg",
            caption="../report/plane.rst",
            category="Image quality",
        ),
    log:
        f"{REPORT}/report.log",
    benchmark:
        f"{REPORT}/report.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=CONFIG.runtime["mem_mb"],
        runtime=10,
    params:
        recognizers=flags({"recognizers": CONFIG.evaluate_recognizers}),
    message:
        "write the report to {output.page}"
    shell:
        "ra report {params.recognizers} --significance {input.significance:q}"
        " --data $(dirname {input.data:q}) --evaluations {input.evaluations:q}"
        " --save-dir $(dirname {output.page:q}) 2> {log:q}"
