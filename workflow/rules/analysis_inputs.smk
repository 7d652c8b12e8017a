# Input and parameter functions of the analyses of boundaries, black boxes and detection.
DETECTION = f"{ANALYSES}/detection"
DETECTION_DATA = f"{RESULTS}/detection-{CONFIG.analysis['detection']['name']}"
DETECTION_TREE = (
    DETECTION_DATA
    if CONFIG.analysis["detection"]["data"] == "composed"
    else CONFIG.analysis["detection"]["data"].rstrip("/")
)
DETECTOR = f"{DETECTION_DATA}/detector"
THROUGH_DETECTOR = f"{DETECTION_DATA}/{{task}}/{{mode}}/l{{l}}/detector/seed{{seed}}"


def surveyed(seeds):
    """Every RA P of the chosen training R's, with a plain P beside it, for these seeds."""
    if not {"plain", "ra"} <= set(CONFIG.objectives):
        return []
    every = CONFIG.analysis["boundaries"]["training"] == "all"
    return [
        dict(task=task, l=weight(value), arch=arch, seed=seed)
        for task in analysis_tasks("boundaries")
        for value in CONFIG.objectives["ra"]
        for arch in (CONFIG.recognizers if every else CONFIG.train_recognizers)
        for seed in seeds
    ]


def plain_processor(task, seed):
    return PROCESSOR.format(task=task, objective="plain", l="0", arch="none", seed=seed)


def evaluations_of_surveyed(wildcards):
    """The accuracies whose difference is the transfer gain, of every seed."""
    aware = [PROCESSOR.format(objective="ra", **p) for p in surveyed(CONFIG.seeds)]
    plain = [plain_processor(p["task"], p["seed"]) for p in surveyed(CONFIG.seeds)]
    return [f"{place}/evaluation.csv" for place in dict.fromkeys(plain + aware)]


def hidden_recognizer():
    """The R behind the default black box: one that trains no P; None if all do."""
    named = CONFIG.analysis["black_box"]["recognizer"]
    used = {*CONFIG.train_recognizers, *CONFIG.own_recognizers}
    free = [arch for arch in CONFIG.evaluate_recognizers if arch not in used]
    return named or (free or [None])[-1]


def is_hidden_recognizer():
    settings = CONFIG.analysis["black_box"]
    return not (settings["command"] or settings["url"])


def shown_to_black_box():
    """(plain P, RA P) of every task and training R: the first lambda and seed."""
    if not {"plain", "ra"} <= set(CONFIG.objectives):
        return []
    return [
        (
            plain_processor(task, CONFIG.seeds[0]),
            PROCESSOR.format(
                task=task,
                objective="ra",
                l=weight(CONFIG.objectives["ra"][0]),
                arch=arch,
                seed=CONFIG.seeds[0],
            ),
        )
        for task in analysis_tasks("black_box")
        for arch in CONFIG.train_recognizers
    ]


def black_box_flags(wildcards, input):
    settings = dict(CONFIG.analysis["black_box"])
    for key in ("tasks", "recognizer"):
        settings.pop(key)
    program = settings.pop("command")
    if is_hidden_recognizer():
        program = ["ra", "predict-label", "--threads", str(CONFIG.runtime["threads"])]
        program += ["--device", CONFIG.runtime["device"]]
        program += ["--recognizer", str(input.recognizer), "{files}"]
    return flags(settings | {"command": program and shlex.join(map(str, program))})


def detection_sets(key):
    """The files that name the images of ``train`` or ``val``."""
    sets = [Path(name) for name in CONFIG.analysis["detection"][key]]
    return [f"{DETECTION_TREE}/{one.parent}/ImageSets/Main/{one.name}.txt" for one in sets]


def voc_tree(wildcards, input):
    """The folder with VOC2007/ and so on, above the first image set."""
    return str(Path(input.sets[0]).parents[3])


def through_detector(task, seed):
    """Folders of the plain and the RA P that were trained on the detector's images."""
    ra = weight(CONFIG.analysis["detection"]["lambda"])
    chosen = [("plain", "0"), ("ra", ra)]
    return [THROUGH_DETECTOR.format(task=task, mode=m, l=l, seed=seed) for m, l in chosen]


def judged_by_detector(wildcards):
    """P's of the experiment (plain, and RA of every training R at its first lambda), and those
    trained with the detector."""
    folders = []
    for seed in CONFIG.seeds:
        if {"plain", "ra"} <= set(CONFIG.objectives):
            ra = dict(objective="ra", l=weight(CONFIG.objectives["ra"][0]))
            folders.append(plain_processor(wildcards.task, seed))
            folders += [
                PROCESSOR.format(task=wildcards.task, arch=arch, seed=seed, **ra)
                for arch in CONFIG.train_recognizers
            ]
        folders += through_detector(wildcards.task, seed)
    return [f"{folder}/processor.safetensors" for folder in folders]


def judged_by_classifiers(wildcards):
    folders = [
        folder
        for task in analysis_tasks("detection")
        for folder in [
            NO_PROCESSING.format(task=task),
            *(folder for seed in CONFIG.seeds for folder in through_detector(task, seed)),
        ]
    ]
    return [f"{folder}/evaluation.csv" for folder in folders]
