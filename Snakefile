from ra.config import check_file

# Another configuration replaces the default one; it is not merged into it.
if not workflow.overwrite_configfiles:
    check_file("config.yaml")  # names file and line, which Snakemake does not

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/recognizers.smk"
include: "workflow/rules/processors.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/bench.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        [getattr(rules, target).input for target in CONFIG.targets],
