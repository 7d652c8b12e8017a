# `snakemake report`: one page for a colleague. Everything, by category and with captions, is in
# Snakemake's own `snakemake --report results/report.html`.
REPORT = f"{RESULTS}/report"


rule report:
    input:
        evaluations=table_evaluations,
        images=table_images,
        data=PREPARED,
        significance=f"{TABLES}/significance.csv",
    output:
        page=shown(f"{REPORT}/report.html", "page", "1 Overview", {"what": "All on one page"}),
        gains=shown(f"{REPORT}/gains.svg", "gains", "1 Overview", {"what": "Gains by recognizer"}),
        plane=shown(
            f"{REPORT}/plane.svg", "plane", "1 Overview", {"what": "Quality against accuracy"}
        ),
    resources:
        **WRITING,
    params:
        recognizers=flags({"recognizers": CONFIG.evaluate_recognizers}),
    shell:
        "ra report {params.recognizers} --significance {input.significance:q}"
        " --data {params.data:q} --evaluations {input.evaluations:q}"
        " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"
