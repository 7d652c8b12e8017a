include: "workflow/rules/setup.smk"
include: "workflow/rules/paths.smk"
include: "workflow/rules/flags.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/recognizers.smk"
include: "workflow/rules/processors.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/bench.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/each.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        [getattr(rules, target).output for target in CONFIG.targets],
