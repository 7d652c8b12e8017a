# An experiment of its own with recognizers of several kinds, whose images also evaluate this one's
# processors.
KINDS = CONFIG.analysis["kinds"]["config"]

if KINDS:
    # A path in it is relative to the folder of the project, where its presets are.
    KINDS = Path(KINDS) if Path(KINDS).is_file() else Path(workflow.basedir, KINDS)
    own = check_file(KINDS)
    given = {"data": CONFIG.analysis["kinds"]["data"] or own["data"], "seeds": list(CONFIG.seeds)}
    given |= {"tasks": {task: CONFIG.tasks[task] for task in analysis_tasks("kinds")}}
    given |= {"runtime": CONFIG.runtime, "tracking": CONFIG.tracking, "plugins": CONFIG.plugins}
    given |= {"results": f"{RESULTS}/kinds", "analysis": {"kinds": {"config": None}}}

    module kinds:
        snakefile:
            "../../Snakefile"
        config:
            {**own, **given}

    use rule * from kinds as kinds_*
