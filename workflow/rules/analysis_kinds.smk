# An experiment of its own, with recognizers of several kinds; its images also evaluate this one's
# plain and RA processors.
KINDS = CONFIG.analysis["kinds"]["config"]

if KINDS:
    # Presets lie beside our Snakefile, wherever the workflow runs and whatever includes it.
    ours = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
    KINDS = check_file(KINDS if Path(KINDS).is_file() else ours / KINDS)
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
            plot=plot_of("kinds", "Kinds of recognizers"),
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
