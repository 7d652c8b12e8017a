"""The settings of the commands behind `snakemake analysis` and `snakemake bench`."""

from pathlib import Path
from typing import Literal

from ra.analysis.settings import BlackBoxService, BoundarySurvey
from ra.settings.base import Int, setting
from ra.settings.commands import (
    RECOGNIZERS,
    Command,
    Files,
    files,
    save_dir,
)
from ra.settings.shared import (
    Machine,
    Source,
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


class Kinds(Command):
    """Tabulate the transfer between classifiers, detectors and segmenters."""

    group: tuple[tuple[str, ...], ...] = setting(
        ...,
        f"a data set and evaluation.csv files of processors trained on it, on one set; {ANSWERS}",
        metavar="NAME FILE",
    )
    save_dir: Path = save_dir("for kinds.csv, .md, .png")
