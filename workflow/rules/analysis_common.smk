# Constants and functions of the analyses' rules.
ANALYSES = f"{RESULTS}/analysis"
# The path of a P below its data set, so that halves of the classes and further architectures of P
# keep the scheme of the default experiment.
P_PATH = os.path.relpath(PROCESSOR, DATASET)
CATEGORIES = f"{DATASET}/categories"
HALF = f"{CATEGORIES}/{{half}}"
HALF_DATA = f"{HALF}/data/dataset.json"
HALF_RECOGNIZER = f"{HALF}/recognizers/{{arch}}"
HALF_PROCESSOR = f"{HALF}/{P_PATH}"
JUDGED_HALF = f"{HALF_PROCESSOR}/on_{{judge}}"
# R_A and R_B are trained here, which a user's own R (a finished program or weights) cannot be.
CATEGORIES_R = CONFIG.analysis["categories"]["recognizer"] or next(
    (r for r in CONFIG.recognizers if r not in CONFIG.own_recognizers), "resnet18"
)
EXTRAS = CONFIG.analysis["extras"]
OTHER_PROCESSOR = f"{DATASET}/architectures/{{p_arch}}/{P_PATH}"
PLAIN = f"{DATASET}/{{task}}/plain/l0/none/seed{{seed}}"
FINE_TUNED = f"{PLAIN}/fine_tuned"
# A user's own R may be a program, which nothing trains further.
FINE_TUNED_RS = [r for r in CONFIG.evaluate_recognizers if r not in CONFIG.own_recognizers]


def analysis_tasks(name):
    """Tasks of an analysis: those of its key `tasks` that the experiment has, else all."""
    chosen = CONFIG.analysis[name].get("tasks") or []
    return [task for task in chosen if task in CONFIG.tasks] or list(CONFIG.tasks)


def half_recognizer(wildcards):
    """The R that trains a P on a half of the classes; plain has none."""
    return [] if wildcards.arch == "none" else f"{HALF_RECOGNIZER}/recognizer.safetensors"


def half_schedule(wildcards):
    changes = CONFIG.analysis["categories"]["schedule"]
    return flags({**CONFIG.recognizer_schedules[wildcards.arch], **changes})


def judged_halves(half):
    """Plain and RA of every task, trained on ``half`` and judged on both."""
    ra = weight(CONFIG.analysis["categories"]["lambda"])
    chosen = [("plain", "0", "none"), ("ra", ra, CATEGORIES_R)]
    folders = [
        JUDGED_HALF.format(
            half=half, task=task, objective=objective, l=l, arch=arch, seed=seed, judge=judge
        )
        for task in analysis_tasks("categories")
        for objective, l, arch in chosen
        for seed in CONFIG.seeds
        for judge in ("A", "B")
    ]
    return [f"{folder}/evaluation.csv" for folder in folders]


def sweep_evaluations(wildcards):
    """P's of the sweep: those of the default experiment where the lambdas are the same."""
    first = CONFIG.train_recognizers[0]
    swept = {"plain": [0], **CONFIG.analysis["lambdas"]["objectives"]}
    folders = [
        PROCESSOR.format(
            task=task,
            objective=objective,
            l=weight(value),
            arch="none" if objective == "plain" else first,
            seed=seed,
        )
        for task in analysis_tasks("lambdas")
        for objective, values in swept.items()
        for value in (values if isinstance(values, list) else [values])
        for seed in CONFIG.seeds
    ]
    return [f"{folder}/evaluation.csv" for folder in folders]


def other_processor_flags(wildcards):
    network = dict(EXTRAS["processors"][wildcards.task])
    return flags({"sr_arch": network.pop("arch"), **network})


def fine_tune_flags(wildcards, input):
    models = {"fine_tune": input.recognizer, "model_sr": input.processor}
    return flags({**EXTRAS["fine_tune"], "seed": wildcards.seed, **models})


def extras_rows(wildcards):
    """The evaluations of each group of the table: the first P, the second, R's trained further."""
    l, first = weight(EXTRAS["lambda"]), CONFIG.train_recognizers[0]
    members = CONFIG.recognizers[:2] if EXTRAS["ensemble"] is None else EXTRAS["ensemble"]
    plain_and_ra = [("plain", "0", "none"), ("ra", l, first)]
    ensemble = [("ra", l, "+".join(members))] if len(members) > 1 else []
    groups = {"first": [], "other": [], "fine_tuned": []}
    for task in analysis_tasks("extras"):
        p_arch = EXTRAS["processors"].get(task, {}).get("arch")
        for seed in CONFIG.seeds:
            for objective, value, arch in [*plain_and_ra, *ensemble, ("perceptual", l, first)]:
                chosen = dict(task=task, objective=objective, l=value, arch=arch, seed=seed)
                groups["first"].append(PROCESSOR.format(**chosen))
                if p_arch and (objective, value, arch) in plain_and_ra:
                    groups["other"].append(OTHER_PROCESSOR.format(**chosen, p_arch=p_arch))
            if FINE_TUNED_RS:
                groups["fine_tuned"].append(FINE_TUNED.format(task=task, seed=seed))
    return {
        name: [f"{folder}/evaluation.csv" for folder in folders] for name, folders in groups.items()
    }


def extras_groups(wildcards, input):
    """--group flags, a group a flag."""
    others = dict.fromkeys(network["arch"] for network in EXTRAS["processors"].values())
    names = {
        "first": CONFIG.processor.arch,
        "other": "second P: " + ", ".join(others),
        "fine_tuned": "R fine-tuned",
    }
    groups = extras_rows(wildcards)
    return " ".join(
        flags({"group": [names[key], *paths]}) for key, paths in groups.items() if paths
    )
