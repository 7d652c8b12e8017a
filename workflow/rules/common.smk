import os
import shlex
import sys
import uuid
from datetime import datetime
from pathlib import Path

from ra.config import load_config
from ra.errors import UserError, one_line
from ra.files import alone
from ra.training.objectives import OBJECTIVES
from ra.tracking.run import default_uri

if not os.access(".snakemake" if os.path.exists(".snakemake") else ".", os.W_OK):
    raise WorkflowError(f"{os.getcwd()}: read-only, and snakemake keeps its notes here")

try:
    CONFIG = load_config(config, Path(workflow.basedir, "workflow/schemas/config.schema.yaml"))
except UserError as error:
    raise WorkflowError(str(error))

# Rules call the `ra` that is installed beside this snakemake, also where no environment is active.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)

# Where and how runs are recorded never changes a result, so it travels in the environment,
# where a change re-runs nothing.
os.environ.setdefault("RA_DAG_ID", f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}")
os.environ.setdefault("RA_PROGRESS", str(CONFIG.results.absolute() / ".progress"))  # `ra watch`
os.environ.update(MLFLOW_EXPERIMENT_NAME=CONFIG.tracking["experiment"])
if not CONFIG.tracking["enabled"]:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
elif CONFIG.tracking["uri"]:
    os.environ.update(MLFLOW_TRACKING_URI=CONFIG.tracking["uri"])
else:
    os.environ.setdefault("MLFLOW_TRACKING_URI", default_uri(CONFIG.results))

RESULTS = CONFIG.results.as_posix()
DATASET = f"{RESULTS}/{CONFIG.dataset}"
TABLES = f"{RESULTS}/tables"
MORE_TABLES = ["significance", *(["paper"] if CONFIG.paper else [])]
PREPARED = f"{DATASET}/data/dataset.json"
RECOGNIZER = f"{DATASET}/recognizers/{{arch}}"
# The path is the identity of a P: two experiments can never overwrite each other.
PROCESSOR = f"{DATASET}/{{task}}/{{objective}}/l{{l}}/{{arch}}/seed{{seed}}"
NO_PROCESSING = f"{DATASET}/{{task}}/no_processing"


# Seconds of work that is not worth a place in a cluster's queue, and downloads, which compute nodes
# often have no network for.
localrules:
    fetch_weights,
    table,
    transfer,


# In place of Snakemake's lock (see workflow/profiles/default): released however this ends.
RUNNING = alone(CONFIG.results)


onstart:
    try:
        RUNNING.__enter__()
    except (UserError, OSError) as error:
        raise WorkflowError(one_line(error))


wildcard_constraints:
    task="|".join(CONFIG.tasks),
    objective="|".join(OBJECTIVES),  # analyses train with more than the experiment
    arch=r"[A-Za-z0-9_.:+-]+",
    l=r"[0-9.e+-]+",
    seed=r"[0-9]+",


def flags(settings):
    """Command-line flags of a mapping; every value is quoted for the shell, None is left out."""
    words = []
    for key, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if value is not None:
            words += [f"--{key.replace('_', '-')}", *(shlex.quote(str(v)) for v in values)]
    return " ".join(words)


def task_flags(wildcards):
    return flags(CONFIG.tasks[wildcards.task])


def processor_flags():
    network = CONFIG.processor
    sizes = {"sr_arch": network.arch, "channels": network.channels, "blocks": network.blocks}
    return flags(sizes)


def with_transformer(objective):
    return objective.startswith("ra_transform")


def transformer_flags(wildcards):
    if not with_transformer(wildcards.objective):
        return ""
    network = CONFIG.transformer
    sizes = {"arch": network.arch, "channels": network.channels, "blocks": network.blocks}
    return flags({f"transformer_{key}": value for key, value in sizes.items()})


def model_flags(wildcards, input):
    """P and T of an evaluation; without P it is that of no processing."""
    models = dict(input.items())
    return flags(
        {
            "model_sr": models.get("processor", "none"),
            "model_transformer": models.get("transformer") or None,
        }
    )


def weight(value):
    """A lambda as it stands in a path."""
    return f"{value:g}"


def trained_processors(objectives, recognizers):
    """(task, objective, l, arch, seed) of every P; plain has no training R."""
    return [
        dict(task=task, objective=objective, l=weight(value), arch=arch, seed=seed)
        for task in CONFIG.tasks
        for objective, values in objectives.items()
        for value in values
        for arch in (["none"] if objective == "plain" else recognizers)
        for seed in CONFIG.seeds
    ]


def evaluation_resources():
    """What an evaluation asks for; a change here re-runs nothing."""
    runtime = CONFIG.runtime
    return dict(
        gpu=min(runtime["gpus"], 1),
        mem_mb=runtime["mem_mb"],
        runtime=runtime["minutes"],
        workers=runtime["workers"],
        device=runtime["device"],
        jobs_per_gpu=runtime["jobs_per_gpu"],
    )


def training_resources():
    """As an evaluation's, and for several GPUs one process each."""
    gpus = CONFIG.runtime["gpus"]
    team = f"torchrun --standalone --nproc-per-node {gpus} -m ra" if gpus > 1 else "ra"
    return {**evaluation_resources(), "gpu": gpus, "launch": team}


def recognizer_file(arch):
    """The stored R, or the user's own YAML file, which is used where it is."""
    if arch in CONFIG.own_recognizers:
        return CONFIG.own_recognizers[arch]
    return f"{RECOGNIZER.format(arch=arch)}/recognizer.safetensors"


def training_recognizer(wildcards):
    """The fixed R's of an objective, one for each name that + joins; plain has none."""
    names = [] if wildcards.arch == "none" else wildcards.arch.split("+")
    return [recognizer_file(name) for name in names]


def transformer_of(wildcards):
    """T of a P that was trained with one."""
    if with_transformer(wildcards.objective):
        return f"{PROCESSOR}/transformer.safetensors"
    return []


def evaluations(processors):
    """The evaluation files of ``processors``, behind those of no processing."""
    trained = [f"{PROCESSOR.format(**p)}/evaluation.csv" for p in processors]
    return [f"{NO_PROCESSING.format(task=t)}/evaluation.csv" for t in CONFIG.tasks] + trained


def table_evaluations(wildcards):
    return evaluations(trained_processors(CONFIG.objectives, CONFIG.train_recognizers))


def matrix_evaluations(wildcards):
    """Plain, RA and RA with transformer at their first lambda, trained by every R."""
    chosen = {o: v[:1] for o, v in CONFIG.objectives.items() if o != "ra_unsupervised"}
    return evaluations(trained_processors(chosen, CONFIG.matrix_recognizers))


def table_images(wildcards):
    """The answers to each image, which the paired tests read."""
    return [path.replace("evaluation.csv", "images.csv") for path in table_evaluations(wildcards)]
