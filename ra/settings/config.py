"""The keys of config.yaml, of the presets and of `snakemake --config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from ra.settings.analysis import BlackBoxService, BoundarySurvey, Scenes
from ra.settings.base import Float, Int, Settings, setting
from ra.settings.shared import METRICS, METRICS_HELP, SCRATCH, Images, Runtime, Schedule


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _unique(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("names something twice")
    return values


Lambda = Annotated[Float, Field(ge=0)]
Lambdas = Annotated[
    tuple[Lambda, ...], BeforeValidator(_tuple), AfterValidator(_unique), Field(min_length=1)
]
Names = Annotated[tuple[str, ...], AfterValidator(_unique)]
Some = Annotated[Names, Field(min_length=1)]
Tasks = Names | None
TASKS_HELP = "tasks of this analysis, where the experiment has them; null takes all"


class Recognizers(Settings):
    train: Some = setting(..., "training recognizers: each trains processors of its own")
    evaluate: Some = setting(
        ...,
        "evaluation recognizers: the columns of the tables; a library's name, timm:NAME, or a "
        ".yaml file that describes your own",
    )
    matrix: Some | None = setting(
        None,
        "training recognizers of the transfer matrix and of table 1; null: all that evaluate",
    )
    weights: str = setting(
        SCRATCH,
        "`scratch` trains every recognizer on the data; else torchvision's name of pretrained "
        "weights, such as IMAGENET1K_V1",
    )
    schedule: Schedule = setting(Schedule(), "of recognizers that are trained")
    overrides: dict[str, dict[str, Any]] = setting(
        {}, "recognizer: keys of its schedule that differ"
    )


class Network(Settings):
    """An architecture; further keys are its own settings (docs/config.md lists them)."""

    model_config = ConfigDict(extra="allow")
    arch: str = setting(..., "architecture")


class Processor(Network):
    arch: str = setting("SRResNet", "architecture of the processor; its settings are keys as well")
    schedule: Schedule = setting(Schedule(), "of the processor's training")


class Transformer(Network):
    arch: str = setting("pix2pix", "architecture of the transformer; its settings are keys as well")


class ExperimentRuntime(Runtime):
    threads: Int = setting(1, Runtime.model_fields["threads"].description, ge=1)
    gpus: Int = setting(
        0,
        "GPUs of a training (above 1: one process each, by torchrun); an evaluation takes one",
        ge=0,
    )
    checkpoint_seconds: Float = setting(60.0, "seconds between saved states", ge=0)
    mem_mb: Int = setting(3000, "memory a job asks a cluster for, MB", ge=1)
    minutes: Int = setting(60, "run time a job asks a cluster for", ge=1)


class Tracking(Settings):
    enabled: bool = setting(True, "record runs in MLflow")
    uri: str | None = setting(
        None, "MLflow tracking URI; default $MLFLOW_TRACKING_URI, else SQLite in results"
    )
    experiment: str = setting("ra", "MLflow experiment", min_length=1)


class Categories(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    seed: Int = setting(0, "draws the halves A and B of the classes", ge=0)
    recognizer: str | None = setting(
        None, "architecture of both recognizers; null is the first training recognizer"
    )
    weight: Float = setting(1e-3, "weight of the recognition loss", gt=0, alias="lambda")
    schedule: dict[str, Any] = setting({}, "keys that differ from that recognizer's own schedule")


class LambdaSweep(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    metrics: Names | dict[str, dict[str, Any]] = setting(
        METRICS, f"{METRICS_HELP}; or a mapping from measures to their settings"
    )
    objectives: dict[str, Lambdas] = setting(
        {"ra": (1e-4, 1e-3, 1e-2)}, "objective: lambdas of the sweep; plain is the sweep's 0"
    )


class Extras(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    weight: Float = setting(
        1e-3, "weight of the recognition loss in every row", gt=0, alias="lambda"
    )
    ensemble: Names | None = setting(
        None,
        "recognizers that together train one processor; null joins the first two of the "
        "experiment, [] leaves the row out",
    )
    processors: dict[str, Network] = setting(
        {},
        "task: a second architecture of the processor, trained as the first one is",
    )
    fine_tune: Schedule = setting(Schedule(), "of recognizers that learn the processed images")


class Detection(Scenes):
    tasks: Tasks = setting(None, TASKS_HELP)
    data: str = setting(
        "composed",
        "`composed` (pieces of the embedded photographs on others of them) or a VOCdevkit folder "
        "with VOC2007/ and so on",
        min_length=1,
    )
    name: str = setting(
        "composed", "name of the detection set in results", pattern="^[A-Za-z0-9_.-]+$"
    )
    train: tuple[Annotated[str, Field(pattern="^[^/]+/[^/]+$")], ...] = setting(
        ("VOC0000/train",),
        "image sets for the detector and for processors trained with it: VOC2007/trainval",
        min_length=1,
    )
    val: tuple[Annotated[str, Field(pattern="^[^/]+/[^/]+$")], ...] = setting(
        ("VOC0000/val",), "image sets on which processors are evaluated: VOC2007/test", min_length=1
    )
    detector: str = setting("tiny", "tiny, or a Faster R-CNN of torchvision by name")
    weights: str = setting(
        SCRATCH, "of the detector's backbone: `scratch`, or torchvision's name; tiny has none"
    )
    detector_schedule: Schedule = setting(
        Schedule(epochs=16, batch_size=8, lr=1e-3, lr_schedule="cosine", warmup=50),
        "of the detector's training",
    )
    weight: Float = setting(1e-3, "weight of the detector's losses", gt=0, alias="lambda")
    schedule: Schedule = setting(
        Schedule(epochs=8, batch_size=4, lr=3e-3, lr_schedule="cosine", warmup=100),
        "of processors trained on the detector's images",
    )


class BlackBox(BlackBoxService):
    tasks: Tasks = setting(None, TASKS_HELP)
    recognizer: str | None = setting(
        None,
        "where neither command nor url is given, the recognizer behind the black box; null is the "
        "last evaluation recognizer that trains no processor",
    )
    command: tuple[str | float, ...] | None = setting(
        None,
        "program and arguments; {files} stands for PNG files, for each of which it prints a label",
        min_length=1,
    )


class Boundaries(BoundarySurvey):
    tasks: Tasks = setting(None, TASKS_HELP)
    training: Literal["train", "all"] = setting(
        "train",
        "training recognizers whose RA processors are compared with plain: those of "
        "recognizers.train, or every recognizer",
    )


class Analysis(Settings):
    categories: Categories = setting(Categories(), "transfer to other classes")
    lambdas: LambdaSweep = setting(LambdaSweep(), "accuracy against image quality")
    extras: Extras = setting(Extras(), "rows beyond the paper")
    detection: Detection = setting(Detection(), "transfer between classifiers and a detector")
    black_box: BlackBox = setting(BlackBox(), "a recognizer known by its answers alone")
    boundaries: Boundaries = setting(Boundaries(), "why it transfers")


class Experiment(Settings):
    """Everything that config.yaml may say."""

    plugins: Names = setting(
        (), "your own code: Python files or modules, imported before any name is looked up"
    )
    data: str = setting(
        "embedded",
        "`embedded` (photographs of the installed packages), `imagenette` (downloaded by "
        "torchvision) or a folder with train/ and val/",
        min_length=1,
    )
    dataset: str | None = setting(
        None,
        "name in results; default: the folder's name",
        pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
    )
    results: Path = setting(Path("results"), "folder of everything generated")
    targets: Annotated[
        tuple[Literal["tables", "transfer_matrix"], ...], AfterValidator(_unique)
    ] = setting(("tables",), "what plain `snakemake` makes")
    seeds: Annotated[tuple[Annotated[Int, Field(ge=0)], ...], AfterValidator(_unique)] = setting(
        (0,), "one processor per seed; tables give their mean", min_length=1
    )
    images: Images = setting(Images(), "sizes, and how images are read")
    tasks: dict[str, dict[str, Any] | None] | None = setting(
        None, "task: its settings; null takes every task of the package", min_length=1
    )
    recognizers: Recognizers = setting(..., "which classifiers train and evaluate")
    processor: Processor = setting(Processor(), "the network that is trained")
    transformer: Transformer = setting(
        Transformer(), "the network between processor and recognizer"
    )
    metrics: Names | dict[str, dict[str, Any]] = setting(
        METRICS, f"{METRICS_HELP}; or a mapping from measures to their settings"
    )
    objectives: dict[str, Lambdas | dict[str, Any]] = setting(
        ...,
        "objective: lambda, the weight of the recognition loss, or a list of lambdas; plain takes "
        "0; or a mapping with `lambda` and the objective's own settings",
        min_length=1,
    )
    runtime: ExperimentRuntime = setting(ExperimentRuntime(), "where jobs run")
    tracking: Tracking = setting(Tracking(), "MLflow")
    paper: bool = setting(False, "print the paper's figures and the difference beside ours")
    analysis: Analysis = setting(
        Analysis(), "`snakemake analysis`, outside the default target; docs/analysis.md"
    )
