"""The keys of config.yaml, of the presets and of `snakemake --config`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FilePath

from ra.analysis.settings import Analysis
from ra.settings.base import Float, Int, Settings, setting
from ra.settings.shared import (
    CLUSTERS_HELP,
    METRICS,
    METRICS_HELP,
    PROTOCOL_HELP,
    SCRATCH,
    STEP,
    Architecture,
    Images,
    Lambdas,
    Names,
    Runtime,
    Schedule,
    Some,
    unique,
)


class Recognizers(Settings):
    train: Some = setting(
        ..., "training recognizers: each trains processors of its own; A+B train one together"
    )
    evaluate: Some = setting(
        ...,
        "evaluation recognizers: the columns of the tables; a library's name, timm:NAME, "
        "tiny_detector, tiny_segmenter, or a .yaml file that describes your own",
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


class Processor(Architecture):
    arch: str = setting(
        "SRResNet",
        "architecture of the processor, whose settings are keys as well; or spandrel:FILE, a "
        "published checkpoint",
    )
    init: FilePath | None = setting(None, "file of the weights with which trainings begin")
    schedule: Schedule = setting(Schedule(), "of the processor's training")


class Transformer(Architecture):
    arch: str = setting("pix2pix", "architecture of the transformer; its settings are keys as well")


class Weights(Settings):
    weights: Lambdas | dict[str, Lambdas] = setting(..., "or task: lambda", alias="lambda")


class ExperimentRuntime(Runtime):
    threads: Int = setting(1, Runtime.model_fields["threads"].description, ge=1)
    gpus: Int = setting(
        0,
        "GPUs of a training (above 1: one process each, by torchrun); an evaluation takes one",
        ge=0,
    )
    checkpoint_seconds: Float = setting(60.0, "seconds between saved states", ge=0)
    step: Literal["eager", "graph", "compiled"] = STEP
    mem_mb: Int = setting(3000, "memory a job asks a cluster for, MB", ge=1)
    minutes: Int = setting(60, "run time a job asks a cluster for", ge=1)


class Tracking(Settings):
    enabled: bool = setting(True, "record runs in MLflow")
    uri: str | None = setting(
        None, "MLflow tracking URI; default $MLFLOW_TRACKING_URI, else SQLite in results"
    )
    experiment: str = setting("ra", "MLflow experiment", min_length=1)


class Experiment(Settings):
    """Everything that config.yaml may say."""

    plugins: Names = setting(
        (), "your own code: Python files or modules, imported before any name is looked up"
    )
    data: str = setting(
        "embedded",
        "`embedded` (photographs of the installed packages), `scenes` (composed of them, with "
        "boxes and masks), `imagenette` (downloaded by torchvision) or a folder: with train/CLASS/ "
        "and val/CLASS/, or images without labels, or a VOC tree (images.train_sets)",
        min_length=1,
    )
    dataset: str | None = setting(
        None,
        "name in results; default: the folder's name",
        pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
    )
    results: Path = setting(Path("results"), "folder of everything generated")
    targets: Annotated[tuple[Literal["tables", "transfer_matrix"], ...], AfterValidator(unique)] = (
        setting(("tables",), "what plain `snakemake` makes")
    )
    seeds: Annotated[tuple[Annotated[Int, Field(ge=0)], ...], AfterValidator(unique)] = setting(
        (0,), "one processor per seed; tables give their mean", min_length=1
    )
    images: Images = setting(Images(), "sizes, and how images are read")
    tasks: dict[str, dict[str, Any] | None] | None = setting(
        None, "task: its settings; null takes the paper's: sr, dn, jpeg", min_length=1
    )
    recognizers: Recognizers = setting(..., "which recognizers train and evaluate")
    processor: Processor = setting(Processor(), "the network that is trained")
    transformer: Transformer = setting(
        Transformer(), "the network between processor and recognizer"
    )
    metrics: Names | dict[str, dict[str, Any]] = setting(
        METRICS, f"{METRICS_HELP}; or a mapping from measures to their settings"
    )
    protocol: Literal["ra", "released"] = setting("ra", PROTOCOL_HELP)
    objectives: dict[str, Lambdas | dict[str, Any]] = setting(
        ...,
        "objective: lambda, the weight of the recognition loss, or a list of lambdas; plain takes "
        "0; or a mapping with `lambda` (also task: lambda) and the objective's own settings",
        min_length=1,
    )
    runtime: ExperimentRuntime = setting(ExperimentRuntime(), "where jobs run")
    tracking: Tracking = setting(Tracking(), "MLflow")
    clusters: Literal["none", "folder"] = setting("none", CLUSTERS_HELP)
    paper: bool = setting(False, "print the paper's figures and the difference beside ours")
    analysis: Analysis = setting(
        Analysis(), "`snakemake analysis`, outside the default target; docs/analysis.md"
    )
