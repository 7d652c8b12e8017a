"""The settings of `ra bench`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ra.settings.base import Int, setting
from ra.settings.commands import Command, files
from ra.settings.shared import Runtime

Positive = Annotated[Int, Field(ge=1)]
DEFAULT = ("training", "released", "evaluation", "growth", "memory")


class Bench(Command):
    """Measure ratios: against the bare step, and against other ways of working."""

    comparisons: tuple[
        Literal["training", "released", "evaluation", "growth", "memory", "steps", "dag", "cores"],
        ...,
    ] = setting(
        (),
        "training: train against the bare step; released: the released script's way of working "
        "against ours; evaluation: k recognizers against the bare passes; growth: seconds and "
        "memory against numbers of images, recognizers and processors; memory: peak of a "
        "training at the largest size against the released way's; steps: other arithmetic "
        "and layouts, and on a GPU each runtime.step; dag: overhead and timeline of --results; "
        "cores: snakemake on two cores against one "
        f"(default: {' '.join(DEFAULT)}, and dag where --results are given)",
        positional=True,
        metavar="COMPARISON",
    )
    save_dir: Path = setting(
        Path("results/bench"), "for COMPARISON.csv, COMPARISON.md and timeline.png", metavar="DIR"
    )
    sizes: tuple[Positive, ...] = setting((32, 64, 224), "side of crops", metavar="PX")
    batch_size: tuple[Positive, ...] = setting(
        (20, 20, 4), "images a step; one value holds for all --sizes", metavar="N"
    )
    steps: tuple[Positive, ...] = setting(
        (16, 4, 2),
        "steps (evaluation: batches) of one timed part; one value holds for all",
        metavar="N",
    )
    repeats: Int = setting(3, "timed parts of each way, in turn", ge=1)
    tasks: tuple[str, ...] = setting(
        ("sr", "dn", "jpeg"), "evaluation and growth take the last one", metavar="TASK"
    )
    objectives: tuple[str, ...] = setting(
        ("plain", "ra", "ra_transformer", "ra_unsupervised"), "of trainings", metavar="MODE"
    )
    arch: str = setting("resnet18", "training recognizer; its weights are random")
    recognizers: tuple[str, ...] = setting(
        ("resnet18", "shufflenet_v2_x1_0", "googlenet", "densenet121", "resnet50"),
        "evaluation recognizers; their weights are random",
        metavar="NAME",
    )
    channels: Int = setting(16, "width of the processor (SRResNet) and the transformer", ge=1)
    blocks: Int = setting(3, "residual blocks of both", ge=1)
    results: Path | None = setting(None, "a finished experiment's results, for dag", metavar="DIR")
    configfile: Path | None = files(
        "experiment that cores runs (default: a small one of independent trainings)", None
    )
    clock: Literal["wall", "cpu"] = setting(
        "wall",
        "cpu: processor time, which other jobs do not disturb and free cores do not shorten",
    )
    runtime: Runtime = Runtime()
