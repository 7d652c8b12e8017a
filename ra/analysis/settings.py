"""The settings of the analyses: below `analysis` in config.yaml, and of their commands."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ra.settings.base import Float, Int, Settings, setting
from ra.settings.shared import Architecture, Lambda, Lambdas, Names, Schedule

Tasks = Names | None
TASKS_HELP = "tasks of this analysis, where the experiment has them; null takes all"


class BlackBoxService(Settings):
    """How an HTTP endpoint is called, and which images it gets."""

    url: str | None = setting(None, "HTTP endpoint to which each PNG is POSTed")
    label_path: str | None = setting(
        None,
        "keys and positions down to the label in the endpoint's JSON: labels.0.name",
        metavar="PATH",
    )
    key_env: str | None = setting(
        None,
        "environment variable that holds the endpoint's key",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        metavar="NAME",
    )
    key_header: str = setting("Authorization", "header that carries the key")
    key_prefix: str = setting("Bearer ", "what stands before the key there")
    body: str | None = setting(
        None,
        'JSON text to send; "{image}" in it becomes the PNG in base64; null sends the PNG itself',
        metavar="JSON",
    )
    field: str | None = setting(None, "send the PNG as this field of a form")
    per_second: Float = setting(5.0, "requests a second, at most", gt=0)
    timeout: Float = setting(30.0, "seconds to wait for the endpoint", gt=0)
    retries: Int = setting(6, "repetitions of a failed request, with growing pauses", ge=0)
    images: Int = setting(
        400, "validation images; each is sent clean, and per task degraded, plain and RA", ge=1
    )
    against: tuple[Literal["label", "clean"], ...] = setting(
        ("label", "clean"),
        "compare answers with the label, or with the answer to the clean image",
        min_length=1,
    )
    answers: Literal["label", "text"] = setting(
        "label",
        "text: compared by character error rate as well; white space counts as one space",
    )
    classes: Path | None = setting(None, "YAML file: answer -> class name", metavar="FILE")
    sheet_images: Int = setting(60, "images on the sheet for people", ge=0)
    seed: Int = setting(0, "draws images and the order of the sheet", ge=0)


class BoundarySurvey(Settings):
    """Where decision boundaries are looked for."""

    images: Int = setting(150, "validation images at which distances and gradients are taken", ge=4)
    planes: Int = setting(40, "of these, images around which a plane is sampled", ge=2)
    grid: Int = setting(15, "points along a side of a plane", ge=3)
    radius: Float = setting(
        0.15,
        "half a plane's side and the farthest distance, RMS over an image, full range is 1",
        gt=0,
    )
    steps: Int = setting(20, "distances tried along a direction", ge=2)
    seed: Int = setting(0, "draws images and random directions", ge=0)


class CategoriesAnalysis(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    seed: Int = setting(0, "draws the halves A and B of the classes", ge=0)
    recognizer: str | None = setting(
        None, "architecture of both recognizers; null is the first training recognizer"
    )
    weight: Float = setting(1e-3, "weight of the recognition loss", gt=0, alias="lambda")
    schedule: dict[str, Any] = setting({}, "keys that differ from that recognizer's own schedule")


class CorruptionsAnalysis(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    data: Annotated[Path, AfterValidator(Path.expanduser)] | None = setting(
        None, "a corrupted set, CORRUPTION/SEVERITY/CLASS/*, as ImageNet-C; null: no analysis"
    )
    corruptions: Annotated[Names, Field(min_length=1)] | None = setting(
        None, "folders of the set; null takes all"
    )
    resize: Int | None = setting(
        None, "shorter side of the set's images in pixels after resizing; null keeps them", ge=1
    )
    relative_to: str | None = setting(
        None,
        "recognizer whose errors without processing are 100 % corruption error (the set's authors "
        "take alexnet); null is the first evaluation recognizer",
    )


class LambdaAnalysis(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    objectives: dict[str, Lambdas] = setting(
        {"ra": (1e-4, 1e-3, 1e-2)}, "objective: lambdas of the sweep; plain is the sweep's 0"
    )


class ExtrasAnalysis(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    weight: Float = setting(
        1e-3, "weight of the recognition loss in the rows of ra", gt=0, alias="lambda"
    )
    objectives: dict[str, Lambda] = setting(
        {"perceptual": 1e-3, "sr4ir": 1e-2},
        "further objectives, a row each: their lambda; one that trains the recognizer as well has "
        "a second row, with that recognizer",
    )
    ensemble: Names | None = setting(
        None,
        "recognizers that together train one processor; null joins the first two of the "
        "experiment, [] leaves the row out",
    )
    processors: dict[str, Architecture] = setting(
        {},
        "task: a second architecture of the processor, trained as the first one is",
    )
    fine_tune: Schedule = setting(Schedule(), "of recognizers that learn the processed images")


class KindsAnalysis(Settings):
    tasks: Tasks = setting(None, TASKS_HELP)
    config: Path | None = setting(
        Path("workflow/presets/scenes.yaml"),
        "configuration of the experiment with recognizers of several kinds; null: no analysis",
    )
    data: str | None = setting(None, "takes the place of that configuration's data")


class BlackBoxAnalysis(BlackBoxService):
    tasks: Tasks = setting(None, TASKS_HELP)
    recognizer: str | None = setting(
        None,
        "where neither command nor url is given, the recognizer behind the black box; null is the "
        "last evaluation recognizer that trains no processor",
    )
    command: tuple[str | Int | Float, ...] | None = setting(
        None,
        "program and arguments; {files} stands for PNG files, for each of which it prints a label; "
        "or {file} for one, of which all that it prints is the answer",
        min_length=1,
    )


class BoundariesAnalysis(BoundarySurvey):
    tasks: Tasks = setting(None, TASKS_HELP)
    training: Literal["train", "all"] = setting(
        "train",
        "training recognizers whose RA processors are compared with plain: those of "
        "recognizers.train, or every recognizer",
    )


class Analysis(Settings):
    categories: CategoriesAnalysis = setting(CategoriesAnalysis(), "transfer to other classes")
    corruptions: CorruptionsAnalysis = setting(
        CorruptionsAnalysis(), "errors on a published corrupted set"
    )
    lambdas: LambdaAnalysis = setting(LambdaAnalysis(), "accuracy against image quality")
    extras: ExtrasAnalysis = setting(ExtrasAnalysis(), "rows beyond the paper")
    kinds: KindsAnalysis = setting(
        KindsAnalysis(), "transfer between classifiers, detectors and segmenters"
    )
    black_box: BlackBoxAnalysis = setting(
        BlackBoxAnalysis(), "a recognizer known by its answers alone"
    )
    boundaries: BoundariesAnalysis = setting(BoundariesAnalysis(), "why it transfers")
