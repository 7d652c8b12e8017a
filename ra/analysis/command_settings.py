"""The settings of the commands behind `snakemake analysis` and `snakemake bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ra.analysis.settings import BlackBoxService, BoundarySurvey
from ra.settings.base import Int, setting
from ra.settings.commands import (
    RECOGNIZERS,
    Command,
    Files,
    Network,
    Objective,
    Task,
    files,
    save_dir,
)
from ra.settings.shared import (
    SCRATCH,
    Machine,
    Runtime,
    Schedule,
    Source,
    TrainingRuntime,
)

ANSWERS = "images.csv lies beside each"


class SplitClasses(Command):
    """Write two prepared data sets, A and B, each with half of the classes of one."""

    data: Path = setting(..., "prepared data set", metavar="DIR")
    seed: Int = setting(0, "draws the halves", ge=0)
    save_dir: Path = save_dir("for halves.json, A/data and B/data")


class Categories(Command):
    """Tabulate processors trained on one half of the classes and evaluated on both."""

    trained_on_a: Files = files(f"evaluation.csv files of processors trained on half A; {ANSWERS}")
    trained_on_b: Files = files(f"evaluation.csv files of processors trained on half B; {ANSWERS}")
    save_dir: Path = save_dir("for categories.csv, .md, .png")


class PrepareCorruption(Command):
    """Read one corruption of a set as ImageNet-C, SET/CORRUPTION/SEVERITY/CLASS/*, into a cache."""

    data: Path = setting(..., "the folder SET", metavar="DIR")
    corruption: str = setting(..., "one of its folders, read at every severity", metavar="NAME")
    like: Path | None = setting(
        None, "prepared data set whose classes count (default: all of the set)", metavar="DIR"
    )
    resize: Int | None = setting(
        None,
        "shorter side in pixels after resizing (default: images stay as they are)",
        ge=1,
        metavar="PX",
    )
    crop: Int = setting(224, "side of the square crops in pixels", ge=16, metavar="PX")
    cache: bool = setting(True, "keep decoded pixels on disk")
    on_bad_image: Literal["fail", "skip"] = setting(
        "fail", "at a bad image: stop and name it, or name and count all and go on"
    )
    save_dir: Path = save_dir("prepared data set")
    name: str | None = setting(None, "name of the data set in results (default: SET-CORRUPTION)")
    workers: Int = setting(0, "decoding processes", ge=0)


class Corruptions(Command):
    """Tabulate errors on a corrupted set: corruption x severity, and mean corruption errors."""

    evaluations: Files = files(
        f"evaluation.csv files of processors, and none, on each corruption; {ANSWERS}"
    )
    relative_to: str = setting(
        ..., "recognizer whose errors without processing are 100 %", metavar="NAME"
    )
    save_dir: Path = save_dir("for corruptions.csv, mce.csv, corruptions.md and .png")


class LambdaSweep(Command):
    """Tabulate and plot accuracy against image quality over lambda."""

    evaluations: Files = files(
        f"evaluation.csv files of one processor per lambda; plain is lambda 0; {ANSWERS}"
    )
    training_r: str = setting(..., "recognizer that trained the processors", metavar="NAME")
    save_dir: Path = save_dir("for lambdas.csv, .md, .png")


class Extras(Command):
    """Tabulate rows beyond the paper: ensembles, perceptual loss, other networks."""

    group: tuple[tuple[str, ...], ...] = setting(
        ...,
        "a name and evaluation.csv files; processors are compared with the plain one of their "
        "group, plain ones with that of the first group",
        metavar="NAME FILE",
    )
    save_dir: Path = save_dir("for extras.csv, .md, .png")


class Boundaries(Command, BoundarySurvey):
    """Compare the decision boundaries of recognizers around processed images."""

    source: Source
    plain: Path = files(
        "processor.safetensors of the plain processor, whose outputs are the points of departure"
    )
    ra: Path = files(
        "processor.safetensors of the RA processor, to whose outputs the first direction leads"
    )
    recognizers: tuple[str, ...] = setting(
        ...,
        f"{RECOGNIZERS}; the training recognizer of --ra is one of them",
        metavar="NAME",
        min_length=1,
    )
    save_dir: Path = save_dir("for pairs.csv and planes.png")
    machine: Machine = Machine()


class BoundariesTable(Command):
    """Relate the similarity of decision boundaries to the gain by transfer."""

    pairs: Files = files("pairs.csv files of ra boundaries")
    evaluations: Files = files(f"evaluation.csv files of plain and RA processors; {ANSWERS}")
    save_dir: Path = save_dir("for transfer.csv, correlation.csv, boundaries.md and scatter.png")


class BlackBox(Command, BlackBoxService):
    """Send plain and RA images to an HTTP endpoint or a program, and compare its answers."""

    source: Source
    plain: Files = files("processor.safetensors of plain processors")
    ra: Files = files("processor.safetensors of RA processors, each of the task of its plain")
    program: str | None = setting(
        None,
        "program that prints a label a line for PNG files, {files}; or an answer for one, {file}",
        flag="command",
        metavar="WORDS",
    )
    batch: Int = setting(500, "files a call of --command", ge=1)
    cache: Path | None = setting(
        None, "answers from earlier calls (default: cache in --save-dir)", metavar="DIR"
    )
    save_dir: Path = save_dir("for answers.csv, agreement.csv, sheet.csv, key.csv and pictures")
    machine: Machine = Machine()


class BlackBoxSheet(Command):
    """Read a sheet that people filled in, and test it."""

    sheet: Path = files("sheet.csv, filled in")
    key: Path = files("key.csv beside it")
    save_dir: Path = save_dir("for preferences.csv and preferences.md")


class PredictLabel(Command):
    """Print the class that a recognizer answers to each image file."""

    recognizer: Path = files("recognizer.safetensors")
    files: tuple[Path, ...] = setting(..., "image files", positional=True, metavar="IMAGE")
    machine: Machine = Machine()


class ComposeDetection(Command):
    """Compose a small detection set from photographs of installed packages."""

    save_dir: Path = save_dir("for VOC0000, a VOC tree")
    side: Int = setting(96, "of the square images, pixels", ge=32)
    train: Int = setting(400, "training images", ge=1)
    val: Int = setting(150, "validation images", ge=1)
    seed: Int = setting(0, "draws the scenes", ge=0)
    split: Literal["final", "tune"] = setting(
        "final", "tune: the training half of the photographs, split again"
    )


class _Tree(Command):
    data: Path = setting(..., "a VOC tree: the folder with VOC2007/ and so on", metavar="DIR")
    sets: tuple[str, ...] = setting(
        ..., "image sets, such as VOC2007/trainval", metavar="YEAR/SET", min_length=1
    )


class TrainDetector(_Tree):
    """Train a Faster R-CNN on clean images of a VOC tree."""

    name: str = setting("voc", "name of the data set in results")
    arch: str = setting("tiny", "tiny, or fasterrcnn_resnet50_fpn and so on")
    weights: str = setting(SCRATCH, "of the backbone: 'scratch', or IMAGENET1K_V1")
    side: Int = setting(96, "images are fitted into a square of this side, pixels", ge=32)
    save_dir: Path = save_dir("for detector.safetensors")
    schedule: Schedule = Schedule()
    runtime: TrainingRuntime = TrainingRuntime()


class TrainThroughDetector(_Tree, Task, Objective, Network):
    """Train a processor through the losses of a fixed detector."""

    task: str = setting("sr", "task by name: sr, dn, jpeg, blur, webp, chain or your own")
    detector: Path = files("detector.safetensors; it has the size of images and the classes")
    save_dir: Path = save_dir("for processor.safetensors")
    schedule: Schedule = Schedule()
    runtime: TrainingRuntime = TrainingRuntime()


class EvaluateDetection(_Tree):
    """Measure the mAP of a detector on the output of processors."""

    detector: Path = files("detector.safetensors; it has the size of images and the classes")
    models: Files = files(
        "processor.safetensors files of one task, whatever they were trained with"
    )
    batch: Int = setting(25, "images at once", ge=1)
    save_dir: Path = save_dir("for detection.csv and detections.png")
    runtime: Runtime = Runtime()


class DetectionTable(Command):
    """Tabulate the transfer between classifiers and a detector, both ways."""

    detections: Files = files("detection.csv files: processors evaluated by a detector")
    evaluations: Files = files(
        "evaluation.csv files: processors trained with the detector, evaluated by classifiers"
    )
    save_dir: Path = save_dir("for by_detector.csv, by_classifiers.csv and detection.md")
