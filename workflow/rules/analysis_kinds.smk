# An experiment of its own, with recognizers of several kinds; its images also evaluate this one's
# plain and RA processors.
KINDS = CONFIG.analysis["kinds"]["config"]

if KINDS:
    # Presets lie beside the Snakefile, wherever the workflow runs.
    KINDS = check_file(KINDS if Path(KINDS).is_file() else Path(workflow.basedir, KINDS))
    KINDS |= {key: getattr(CONFIG, key) for key in ("seeds", "runtime", "tracking", "plugins")}
    KINDS |= {"data": CONFIG.analysis["kinds"]["data"] or KINDS["data"]}
    KINDS |= {"tasks": {task: CONFIG.tasks[task] for task in analysis_tasks("kinds")}}
    KINDS |= {"results": f"{RESULTS}/kinds", "analysis": {"kinds": {"config": None}}}
    # What these name, the experiment above has.
    OTHER = load_config(KINDS)
    ON_SCENES = f"{PROCESSOR}/on_{OTHER.dataset}"

    module kinds:
        snakefile:
            "../../Snakefile"
        config:
            KINDS

    use rule * from kinds as kinds_*

    use rule kinds_evaluate as evaluate_on_scenes with:
        input:
            data=f"{RESULTS}/kinds/{OTHER.dataset}/data/dataset.json",
            recognizers=[
                f"{RESULTS}/kinds/{OTHER.dataset}/recognizers/{arch}/recognizer.safetensors"
                for arch in OTHER.evaluate_recognizers
            ],
            processor=f"{PROCESSOR}/processor.safetensors",
            plugins=PLUGIN_FILES,
        output:
            **evaluation_outputs(ON_SCENES),

    rule kinds:
        input:
            own=rules.kinds_tables.input.evaluations,
            others=[f"{one}/on_{OTHER.dataset}/evaluation.csv" for one in shown_to_scenes()],
        output:
            table=f"{ANALYSES}/kinds.csv",
            markdown=f"{ANALYSES}/kinds.md",
            plot=shown(
                f"{ANALYSES}/kinds.png", "kinds", "6 Analyses", {"what": "Kinds of recognizers"}
            ),
        localrule: True
        resources:
            **WRITING,
        params:
            own=OTHER.dataset,
            others=CONFIG.dataset,
        shell:
            "ra kinds --group {params.own:q} {input.own:q} --group {params.others:q} {input.others:q}"
            " {resources.plugins} --save-dir {params.save:q} 2> {log:q}"

    ANALYSIS += rules.kinds.output
