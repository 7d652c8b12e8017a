# Where results are, and which files a job reads and writes. The path is the identity of a
# processor: two experiments can never overwrite each other.
from pathlib import Path

import yaml

from ra.evaluation.quality import MEASURES
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import p_model_title, recognizer_title, task_title
from ra.training.objectives import OBJECTIVES

DATASET = f"{RESULTS}/{CONFIG.dataset}"
TABLES = f"{RESULTS}/tables"
MORE_TABLES = {"significance": "Gains over plain processing, tested"}
MORE_TABLES |= {"paper": "Beside the paper's figures"} if CONFIG.paper else {}
PREPARED = f"{DATASET}/data/dataset.json"
RECOGNIZER = f"{DATASET}/recognizers/{{arch}}"
WEIGHTS = f"{DATASET}/recognizers/weights.json"
MEASURES_FETCHED = f"{DATASET}/measures"
FETCHED = any(MEASURES.get(measure).fetch for measure in CONFIG.metrics)
MEASURE_WEIGHTS = [f"{MEASURES_FETCHED}/weights.json"] if FETCHED else []
# Below a data set, so that halves of the classes and other architectures keep the scheme.
BELOW = "{task}/{objective}/l{l}/{arch}/seed{seed}"
PROCESSOR = f"{DATASET}/{BELOW}"
NO_PROCESSING = f"{DATASET}/{{task}}/no_processing"
CLEAN = f"{DATASET}/clean"
FIRST_WEIGHTS = [plain_path(file) for file in CONFIG.first_weights]
# Modules of a package are not followed, files are.
PLUGIN_FILES = [plain_path(str(p)) for p in map(Path, CONFIG.plugins) if p.suffix == ".py"]


wildcard_constraints:
    task="|".join(CONFIG.tasks),
    objective="|".join(OBJECTIVES),  # analyses train with more than the experiment
    arch=r"[A-Za-z0-9_.:+-]+",
    l=r"[0-9.e+-]+",
    seed=r"[0-9]+",


def weight(value):
    """A lambda as it stands in a path."""
    return f"{value:g}"


def listing(data):
    """Digest of path, size and time of every file below the folder ``data``."""
    digest, visited = sha256(), set()
    for folder, folders, files in os.walk(data, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        for entry in sorted(os.path.join(folder, name) for name in files):
            status = os.lstat(entry) if not os.path.exists(entry) else os.stat(entry)
            digest.update(repr((entry, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest() if visited else ""


def training_with(*networks):
    """The objectives that train these beside the processor, as a pattern."""
    wanted = ("transformer" in networks, "recognizer" in networks)
    kinds = {name: OBJECTIVES.get(name) for name in OBJECTIVES}
    found = [n for n, o in kinds.items() if (o.needs_transformer, o.trains_recognizer) == wanted]
    return "|".join(found) or "^$"  # a rule needs a pattern even where no objective is left for it


def recognizer_file(arch):
    """The stored recognizer, or the user's own YAML file, which is used where it is."""
    if arch in CONFIG.own_recognizers:
        return plain_path(CONFIG.own_recognizers[arch])
    return f"{RECOGNIZER.format(arch=arch)}/recognizer.safetensors"


def user_files(names):
    """Weights and programs that the YAML files among the recognizers ``names`` point to."""
    found = []
    for file in (Path(CONFIG.own_recognizers[n]) for n in names if n in CONFIG.own_recognizers):
        if file.is_file():
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            sources = [content.get(key) for key in ("state_dict", "torchscript", "exported")]
            found += [plain_path(str(file.parent / source)) for source in sources if source]
    return found


def training_names(wildcards):
    """The training recognizers, one for each name that + joins."""
    return [] if wildcards.arch == NO_RECOGNIZER else wildcards.arch.split("+")


def trained(place, *more):
    """What a training of a processor writes; ``more`` networks are trained beside it."""
    networks = {kind: f"{place}/{kind}.safetensors" for kind in ("processor", *more)}
    return {**networks, "history": f"{place}/training.csv"}


def transformer_of(wildcards):
    """The transformer that was trained with a processor."""
    exists = OBJECTIVES.get(wildcards.objective).needs_transformer
    return [f"{PROCESSOR}/transformer.safetensors"] * exists


def plain_beside(wildcards):
    """The plain processor that strip.png shows beside another one; its changes re-run nothing."""
    shown = "plain" in CONFIG.objectives and wildcards.objective != "plain"
    return [f"{plain_processor(wildcards.task, wildcards.seed)}/processor.safetensors"] * shown


def evaluation_inputs(data=PREPARED, **models):
    return dict(
        data=data,
        recognizers=[recognizer_file(arch) for arch in CONFIG.evaluate_recognizers],
        plugins=PLUGIN_FILES,
        files=user_files(CONFIG.evaluate_recognizers),
        weights=MEASURE_WEIGHTS,
        **models,
    )


def shown(path, caption, category, labels):
    """``path`` in Snakemake's report, with the caption in workflow/report and labels in words."""
    return report(path, caption=f"../report/{caption}.rst", category=category, labels=labels)


def shown_table(name, caption, title):
    return shown(f"{TABLES}/{name}.html", caption, "2 Tables", {"table": title})


def in_words(wildcards):
    """What tells a processor from others."""
    found = wildcards.get
    task = found("task", "")
    return {
        "task": task_title(task) if task else "all",
        "processor": p_model_title(found("objective", "no_processing" if task else "clean")),
        "lambda": found("l", ""),
        "training recognizer": recognizer_title(found("arch", "")),
        "seed": found("seed", ""),
    }


def evaluation_outputs(folder, told=False):
    """What an evaluation writes; with ``told``, its pictures go into Snakemake's report."""
    strip, matrix = f"{folder}/strip.png", f"{folder}/accuracy.png"
    if told:
        strip = shown(strip, "strip", "5 Pictures", in_words)
        matrix = shown(matrix, "matrix", "4 Accuracy of each processor", in_words)
    tables = dict(table=f"{folder}/evaluation.csv", images=f"{folder}/images.csv")
    return dict(**tables, strip=strip, matrix=matrix)


def processors(objectives, recognizers):
    """(task, objective, l, arch, seed) of every processor of the experiment."""
    return [
        dict(task=task, objective=objective, l=weight(value), arch=arch, seed=seed)
        for task in CONFIG.tasks
        for objective, values in objectives.items()
        for value in values[task]
        for arch in (recognizers if needs_recognizer(objective) else [NO_RECOGNIZER])
        for seed in (CONFIG.seeds if objective != "published" else CONFIG.seeds[:1])
    ]


def needs_recognizer(objective):
    return OBJECTIVES.get(objective).needs_recognizer


def plain_processor(task, seed):
    return PROCESSOR.format(task=task, objective="plain", l="0", arch=NO_RECOGNIZER, seed=seed)


def evaluations(processors):
    """The evaluation files of ``processors``, behind those of clean images and no processing."""
    trained = [f"{PROCESSOR.format(**p)}/evaluation.csv" for p in processors]
    nothing = [f"{NO_PROCESSING.format(task=t)}/evaluation.csv" for t in CONFIG.tasks]
    return [f"{CLEAN}/evaluation.csv", *nothing, *trained]


def table_evaluations(wildcards):
    return evaluations(processors(CONFIG.objectives, CONFIG.train_recognizers))


def table_images(wildcards):
    """Results on each image, which the paired tests need."""
    return [path.replace("evaluation.csv", "images.csv") for path in table_evaluations(wildcards)]


def matrix_evaluations(wildcards):
    """The objectives of the transfer matrix at their first lambda, trained by every recognizer."""
    first = {
        objective: {task: values[:1] for task, values in lambdas.items()}
        for objective, lambdas in CONFIG.objectives.items()
    }
    # Of the paper's objectives, those that use labels, where one of them does.
    with_labels = {o: v for o, v in first.items() if OBJECTIVES.get(o).needs_labels}
    chosen = {o: v for o, v in first.items() if not needs_recognizer(o)} | (with_labels or first)
    return evaluations(processors(chosen, CONFIG.matrix_recognizers))
