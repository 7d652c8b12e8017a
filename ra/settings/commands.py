"""The settings of each `ra` command; a class's first line is the command's help."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ra.settings.base import Float, Int, Settings, setting
from ra.settings.shared import (
    CLUSTERS_HELP,
    METRICS,
    METRICS_HELP,
    PAPER_RECOGNIZERS,
    PAPER_WEIGHTS,
    PROTOCOL_HELP,
    SCRATCH,
    Images,
    Machine,
    Runtime,
    Schedule,
    Source,
    TrainingRuntime,
)

Files = Annotated[tuple[Path, ...], Field(min_length=1)]
MODEL = (
    "processor.safetensors, the folder with it, or models:/NAME/VERSION or "
    "models:/DATASET@best-TASK of MLflow's registry"
)
RECOGNIZERS = "recognizer.safetensors or .yaml files, or names of pretrained classifiers"
INIT = "file of the weights with which the processor's training begins (default: random weights)"
WEIGHT = "lambda, the weight of the recognition loss"


def save_dir(what: str) -> Any:
    return setting(..., what, metavar="DIR")


def files(what: str, default: Any = ..., **more: Any) -> Any:
    return setting(default, what, metavar="FILE", **more)


def sizes_of(registry: str, prefix: str = "") -> Any:
    """Settings of whichever class of a registry is chosen; each is a flag."""
    return setting({}, f"settings of the {registry}", registry=registry, prefix=prefix)


class Command(Settings):
    plugins: tuple[str, ...] = setting(
        (),
        "your own code: Python files or modules, imported before any name is looked up",
        metavar="FILE",
    )
    quiet: bool = setting(False, "print nothing but warnings and errors")


class Prepare(Command, Images):
    """Read a folder of images once, into a cache."""

    data: str = setting(
        ...,
        "folder with train/CLASS/ and val/CLASS/, or of images without labels, in train/ and "
        "val/ or not; or 'embedded': photographs of installed packages; 'embedded-tune': their "
        "training half, split again; or 'imagenette'; or 'scenes': pieces of photographs on "
        "others, with boxes and masks; or a VOC tree, with --train-sets",
        metavar="PATH",
    )
    save_dir: Path = save_dir("prepared data set")
    name: str | None = setting(None, "name of the data set in results (default: its path)")
    inputs: Path | None = setting(
        None, "folder with the input of each image, for task paired (same paths)", metavar="PATH"
    )
    workers: Int = setting(0, "decoding processes", ge=0)


class TrainRecognizer(Command):
    """Train a recognizer on clean images, or store pretrained weights."""

    source: Source
    arch: str = setting("resnet18", "torchvision classifier, or timm:NAME")
    weights: str = setting(
        SCRATCH, "'scratch', or the name of pretrained weights, such as IMAGENET1K_V1"
    )
    classes: Path | None = files("maps folder names to logits of pretrained weights", None)
    fine_tune: Path | None = files("recognizer.safetensors that is trained further", None)
    model_sr: Path | None = files(
        "processor.safetensors whose outputs the recognizer learns from (default: clean images)",
        None,
    )
    save_dir: Path = save_dir("for recognizer.safetensors and training.csv")
    schedule: Schedule = Schedule()
    runtime: TrainingRuntime = TrainingRuntime()


class Task(Settings):
    task: str | None = setting(
        None, "task by name: sr, dn, jpeg, blur, webp, chain or your own (default: the model's)"
    )
    task_settings: dict[str, Any] = sizes_of("task")


class Models(Settings):
    model_sr: str | None = setting(
        None,
        "processor.safetensors, or 'none' for no processing, or 'clean' for undegraded images",
        metavar="FILE",
    )
    model_transformer: Path | None = files(
        "transformer.safetensors, between processor and recognizer", None
    )


class Network(Settings):
    sr_arch: str = setting("SRResNet", "architecture of the processor, or spandrel:FILE")
    init: Path | None = files(INIT, None)
    processor_settings: dict[str, Any] = sizes_of("architecture")


class Objective(Settings):
    mode: str = setting("ra", "objective by name: plain, ra, ra_transformer, … or your own")
    weight: Float | None = setting(
        None,
        f"{WEIGHT}; ra with 0 is plain (default: the objective's own)",
        ge=0,
        flag="l",
        metavar="LAMBDA",
    )


class Train(Command, Task, Objective, Network, Models):
    """Train a processor (and a transformer)."""

    source: Source
    task: str = setting("sr", "task by name: sr, dn, jpeg, blur, webp, chain or your own")
    objective_settings: dict[str, Any] = sizes_of("objective")
    arch: str = setting("resnet18", "training recognizer, by name; A+B is an ensemble")
    recognizer: tuple[Path, ...] = files(
        "recognizer.safetensors of the training recognizer, one for each name in --arch "
        "(default: pretrained --arch)",
        (),
    )
    transformer_arch: str = setting("pix2pix", "architecture of the transformer")
    transformer_settings: dict[str, Any] = sizes_of("architecture", "transformer_")
    save_dir: Path | None = setting(
        None,
        "for models, training.csv and the resume state; of --cross-evaluate: for its results "
        "(default: beside the model)",
        metavar="DIR",
    )
    cross_evaluate: bool = setting(False, "do not train: evaluate --model-sr, as ra evaluate does")
    schedule: Schedule = Schedule()
    runtime: TrainingRuntime = TrainingRuntime()


class ImportCheckpoint(Command):
    """Turn a released, pickled processor or transformer into safetensors; it is not executed."""

    file: Path = files("the released checkpoint", positional=True)
    task: str = setting(..., "task it was trained for: sr, dn or jpeg")
    mode: str = setting("ra", "objective it was trained with")
    weight: Float = setting(1e-3, "its lambda", ge=0, flag="l", metavar="LAMBDA")
    arch: str = setting("resnet18", "its training recognizer")
    save_dir: Path = save_dir("for the model")


class Evaluate(Command, Task, Models):
    """Evaluate one processor with every recognizer in one pass."""

    source: Source
    recognizers: tuple[str, ...] = setting(PAPER_RECOGNIZERS, RECOGNIZERS, metavar="NAME")
    metrics: tuple[str, ...] = setting(METRICS, METRICS_HELP, metavar="NAME")
    measure_settings: dict[str, Any] = sizes_of("measure")
    protocol: Literal["ra", "released"] = setting("ra", PROTOCOL_HELP)
    plain: Path | None = setting(
        None, "the plain processor, whose output strip.png shows as well", metavar="FILE"
    )
    save_dir: Path | None = setting(
        None,
        "for evaluation.csv, images.csv and pictures (default: beside the model)",
        metavar="DIR",
    )
    runtime: Runtime = Runtime()


class Evaluations(Command):
    evaluations: Files = files("evaluation.csv files; images.csv lies beside each")
    recognizers: tuple[str, ...] = setting(
        (),
        "columns of the tables, in order (default: every recognizer that occurs)",
        metavar="NAME",
    )


class Table(Evaluations):
    """Pivot evaluations into the paper's tables."""

    paper: bool = setting(False, "also write paper.csv: ours beside the published figures")
    significance: bool = setting(
        False,
        "also write significance.csv: every processor against the plain one, paired tests over "
        "the answers in images.csv",
    )
    clusters: Literal["none", "folder"] = setting("none", CLUSTERS_HELP)
    save_dir: Path = save_dir(
        "for TASK.csv, quality.csv and all.csv, each table also as Markdown and LaTeX"
    )


class TransferMatrix(Evaluations):
    """Pivot evaluations by training recognizer: transfer matrix and table 1 of the paper."""

    save_dir: Path = save_dir(
        "for transfer_TASK and table1_TASK, as CSV, Markdown, LaTeX, heat map"
    )


class Report(Evaluations):
    """Write one HTML page with tables, plots and pictures."""

    data: Path | None = setting(None, "prepared data set (default: no pictures)", metavar="DIR")
    significance: Path | None = files("significance.csv of ra table (default: no marks)", None)
    save_dir: Path = save_dir("for report.html and its plots as SVG")


class FetchWeights(Command):
    """Download pretrained weights into the libraries' cache (TORCH_HOME), before any GPU job."""

    recognizers: tuple[str, ...] = setting(PAPER_RECOGNIZERS, "names", metavar="NAME")
    weights: str = setting(PAPER_WEIGHTS, f"name of the weights; {SCRATCH} fetches no recognizer")
    metrics: tuple[str, ...] = setting(
        (), "also fetch the networks of these measures", metavar="NAME"
    )
    measure_settings: dict[str, Any] = sizes_of("measure")
    save_dir: Path = save_dir("for weights.json, the list")


class Use(Command):
    inputs: tuple[str, ...] = setting(
        ..., "image, folder or 'pattern*.png'", positional=True, metavar="IN", min_length=1
    )
    model: str = setting(..., MODEL, metavar="MODEL")
    transformer: bool = setting(
        False, "also apply the transformer, which lies beside the processor"
    )
    tile: Int | None = setting(
        None,
        "side of the tiles in which larger images are processed, pixels, a multiple of 16 "
        "(default: 512; on a GPU 1024, halved while its memory does not suffice)",
        metavar="PX",
    )
    machine: Machine = Machine()


class Process(Use):
    """Restore images with a trained processor: files, folders, patterns."""

    out: Path = setting(
        ..., "result of one image, or a folder (for PNG files)", positional=True, metavar="OUT"
    )


class Predict(Use):
    """Show what recognizers answer before and after a trained processor."""

    recognizers: tuple[str, ...] = setting(..., RECOGNIZERS, metavar="NAME", min_length=1)
    resize: Int | None = setting(
        None,
        "recognizers get the middle square of this side, in pixels (default: the whole image)",
        ge=1,
        metavar="PX",
    )
    degrade: bool = setting(False, "IN are clean images: degrade them first")
    csv: Path | None = files("also write the answers as CSV", None)


class Export(Command):
    """Write a trained processor as a program for other runtimes: ONNX or torch.export."""

    model: str = setting(..., MODEL, positional=True, metavar="MODEL")
    out: Path = setting(..., "the program, .onnx or .pt2", positional=True, metavar="OUT")
    format: Literal["onnx", "torch"] = setting("onnx", "onnx needs the extra 'onnx'")
    transformer: bool = setting(False, "with the transformer, which lies beside the processor")


class ExportZeroShot(Command):
    """Write a CLIP model of open_clip with your class names as a recognizer."""

    model: str = setting(..., "open_clip's name, such as ViT-B-32", metavar="NAME")
    pretrained: str = setting(
        ..., "open_clip's tag of its weights, or a file; none: random weights"
    )
    classes: Path = files(
        "a line a class: its name in the data set, or name: words that describe it"
    )
    template: tuple[Annotated[str, Field(pattern=r"\{\}")], ...] = setting(
        ("a photo of a {}.",),
        "sentences around the words, {}; of several, the mean is taken",
        min_length=1,
        metavar="TEXT",
    )
    save_dir: Path = save_dir("for recognizer.yaml and zero_shot.pt2")


class Watch(Command):
    """Show how many jobs are done, and one line for each that runs: epoch, images/s, time left."""

    results: Path = setting(Path("results"), "results folder", metavar="DIR")
