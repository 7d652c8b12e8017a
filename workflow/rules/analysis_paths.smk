# Files and flags of the analyses.
from ra.analysis.corruptions.prepare import corruptions_in

ANALYSES = f"{RESULTS}/analysis"
CATEGORIES = f"{DATASET}/categories"
HALF = f"{CATEGORIES}/{{half}}"
HALF_DATA = f"{HALF}/data/dataset.json"
HALF_RECOGNIZER = f"{HALF}/recognizers/{{arch}}"
HALF_PROCESSOR = f"{HALF}/{BELOW}"
HALF_EVALUATED = f"{HALF_PROCESSOR}/on_{{other}}"
# Trained here, which a user's own recognizer (a finished program or weights) cannot be.
CATEGORIES_R = CONFIG.analysis["categories"]["recognizer"] or next(
    (r for r in CONFIG.recognizers if r not in CONFIG.own_recognizers), "resnet18"
)
CORRUPTED_SET = CONFIG.analysis["corruptions"]
try:  # an unknown corruption is told before any job runs
    CORRUPTIONS = CORRUPTED_SET["data"] and corruptions_in(
        CORRUPTED_SET["data"], CORRUPTED_SET["corruptions"]
    )
except UserError as error:
    raise WorkflowError(f"config key analysis.corruptions: {error}")
CORRUPTED = f"{DATASET}/corruptions/{{corruption}}"
CORRUPTED_DATA = f"{CORRUPTED}/data/dataset.json"
EXTRAS = CONFIG.analysis["extras"]
OTHER_PROCESSOR = f"{DATASET}/architectures/{{p_arch}}/{BELOW}"
PLAIN = f"{DATASET}/{{task}}/plain/l0/{NO_RECOGNIZER}/seed{{seed}}"
FINE_TUNED = f"{PLAIN}/fine_tuned"
TOGETHER = f"{PROCESSOR}/with_its_recognizer"
# A user's own recognizer may be a program, which nothing trains further.
FINE_TUNED_RS = [r for r in CONFIG.evaluate_recognizers if r not in CONFIG.own_recognizers]
BOX = CONFIG.analysis["black_box"]
OWN_BOX = BOX["command"] or BOX["url"]
COMPARABLE = {"plain", "ra"} <= set(CONFIG.objectives)


def plot_of(name, what):
    """The plot of an analysis, with its caption and ``what`` in Snakemake's report."""
    return shown(f"{ANALYSES}/{name}.png", os.path.basename(name), "6 Analyses", {"what": what})


def corrupted_evaluations(wildcards):
    """No processing, then every processor of the experiment, on every corruption."""
    folders = [f"{task}/no_processing" for task in analysis_tasks("corruptions")]
    every = processors(CONFIG.objectives, CONFIG.train_recognizers)
    folders += [BELOW.format(**p) for p in every if p["task"] in analysis_tasks("corruptions")]
    return [
        f"{CORRUPTED.format(corruption=corruption)}/{folder}/evaluation.csv"
        for corruption in CORRUPTIONS
        for folder in folders
    ]


def analysis_tasks(name):
    """Tasks of an analysis: those of its key `tasks` that the experiment has, else all."""
    named = CONFIG.analysis[name].get("tasks") or []
    return [task for task in named if task in CONFIG.tasks] or list(CONFIG.tasks)


def aware(task, seed, arch):
    """The recognition-aware processor of a training recognizer at the task's first lambda."""
    l = weight(CONFIG.objectives["ra"][task][0])
    return PROCESSOR.format(objective="ra", task=task, l=l, arch=arch, seed=seed)


def evaluated_halves(half):
    """The half's clean images; plain and recognition-aware of every task, trained on ``half`` and
    evaluated on both."""
    ra = ("ra", weight(CONFIG.analysis["categories"]["lambda"]), CATEGORIES_R)
    return [f"{HALF}/clean/evaluation.csv".format(half=half)] + [
        f"{HALF_EVALUATED}/evaluation.csv".format(
            half=half, task=task, objective=objective, l=l, arch=arch, seed=seed, other=other
        )
        for task in analysis_tasks("categories")
        for objective, l, arch in [("plain", "0", NO_RECOGNIZER), ra]
        for seed in CONFIG.seeds
        for other in ("A", "B")
    ]


def sweep_evaluations(wildcards):
    """Processors of the sweep: those of the experiment where the lambdas are the same."""
    given = {"plain": [0], **CONFIG.analysis["lambdas"]["objectives"]}
    swept = {objective: dict.fromkeys(CONFIG.tasks, given[objective]) for objective in given}
    return [f"{CLEAN}/evaluation.csv"] + [
        f"{PROCESSOR.format(**one)}/evaluation.csv"
        for task in analysis_tasks("lambdas")
        for one in processors(swept, CONFIG.train_recognizers[:1])
        if one["task"] == task
    ]


def extras_rows(wildcards):
    """The evaluations of each group of the table: first and second processor, fine-tuned."""
    l, first = weight(EXTRAS["lambda"]), CONFIG.train_recognizers[0]
    members = CONFIG.recognizers[:2] if EXTRAS["ensemble"] is None else EXTRAS["ensemble"]
    plain_and_ra = [("plain", "0", NO_RECOGNIZER), ("ra", l, first)]
    ensemble = [("ra", l, "+".join(members))] if len(members) > 1 else []
    more = [
        (o, weight(value), first if needs_recognizer(o) else NO_RECOGNIZER)
        for o, value in EXTRAS["objectives"].items()
    ]
    groups = {"first": [CLEAN], "other": [], "fine_tuned": [], "together": []}
    for task in analysis_tasks("extras"):
        p_arch = EXTRAS["processors"].get(task, {}).get("arch")
        for seed in CONFIG.seeds:
            for objective, value, arch in [*plain_and_ra, *ensemble, *more]:
                one = dict(task=task, objective=objective, l=value, arch=arch, seed=seed)
                groups["first"].append(PROCESSOR.format(**one))
                if p_arch and (objective, value, arch) in plain_and_ra:
                    groups["other"].append(OTHER_PROCESSOR.format(**one, p_arch=p_arch))
                if OBJECTIVES.get(objective).trains_recognizer:
                    groups["together"].append(TOGETHER.format(**one))
            if FINE_TUNED_RS:
                groups["fine_tuned"].append(FINE_TUNED.format(task=task, seed=seed))
    return {name: [f"{place}/evaluation.csv" for place in found] for name, found in groups.items()}


def extras_groups(wildcards, input):
    """A flag --group for each group."""
    others = dict.fromkeys(network["arch"] for network in EXTRAS["processors"].values())
    names = {
        "first": CONFIG.processor["arch"],
        "other": "second P: " + ", ".join(others),
        "fine_tuned": "R fine-tuned",
        "together": "R trained with P",
    }
    groups = extras_rows(wildcards).items()
    return " ".join(flags({"group": [names[key], *paths]}) for key, paths in groups if paths)


def surveyed(seeds):
    """The recognition-aware processors of the chosen training recognizers."""
    every = CONFIG.analysis["boundaries"]["training"] == "all"
    return [
        dict(task=task, l=weight(value), arch=arch, seed=seed)
        for task in analysis_tasks("boundaries")
        for value in CONFIG.objectives.get("ra", {}).get(task, ())
        for arch in (CONFIG.recognizers if every else CONFIG.train_recognizers)
        for seed in seeds
        if COMPARABLE
    ]


def evaluations_of_surveyed(wildcards):
    """The accuracies whose difference is the transfer gain, of every seed."""
    aware = [PROCESSOR.format(objective="ra", **p) for p in surveyed(CONFIG.seeds)]
    plain = [plain_processor(p["task"], p["seed"]) for p in surveyed(CONFIG.seeds)]
    return [f"{place}/evaluation.csv" for place in dict.fromkeys(plain + aware)]


def hidden_recognizer():
    """The file of the recognizer behind the default black box, one that trains no processor; []
    where the user gives a black box or every recognizer trains."""
    train = [name for one in CONFIG.train_recognizers for name in one.split("+")]
    used = {*train, *CONFIG.own_recognizers}
    free = [arch for arch in CONFIG.evaluate_recognizers if arch not in used]
    chosen = BOX["recognizer"] or next(reversed(free), None)
    return recognizer_file(chosen) if chosen and not OWN_BOX else []


def shown_to_black_box():
    """(plain, recognition-aware) of every task and training recognizer: first lambda and seed."""
    seed = CONFIG.seeds[0]
    return [
        (plain_processor(task, seed), aware(task, seed, arch))
        for task in analysis_tasks("black_box")
        for arch in CONFIG.train_recognizers
        if COMPARABLE
    ]


def black_box_flags(wildcards):
    command = BOX["command"] and shlex.join(map(str, BOX["command"]))
    return flags({**without(BOX, "tasks", "recognizer"), "command": command})


def black_box_program(wildcards, input):
    """The command around the hidden recognizer, where the user gives no black box."""
    if OWN_BOX:
        return ""
    words = ["ra", "predict-label", *shlex.split(THREADS), "--device", CONFIG.runtime["device"]]
    return flags({"command": shlex.join([*words, "--recognizer", input.recognizer, "{files}"])})


def shown_to_scenes():
    """Plain processors of this experiment and aware ones, at the first lambda."""
    seeds = [
        (task, seed) for task in analysis_tasks("kinds") for seed in CONFIG.seeds if COMPARABLE
    ]
    trained = [aware(*one, arch) for one in seeds for arch in CONFIG.train_recognizers]
    return [plain_processor(*one) for one in seeds] + trained
