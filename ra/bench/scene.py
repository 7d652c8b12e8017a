"""What every comparison runs on: photographs as JPEG files, prepared once, and small networks."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ra.bench.measure import CLOCKS, interleaved
from ra.data.batches import TrainingKeys, loader
from ra.data.degradations import build_task
from ra.data.embedded import PHOTOGRAPHS
from ra.data.prepare import prepare
from ra.data.splits import Batch, Crops, ImageSplit
from ra.models.architectures import build_recognizer
from ra.models.processors import build_processor
from ra.models.recognizers import freeze
from ra.settings.shared import Schedule, TrainingRuntime
from ra.training.objectives import OBJECTIVES, Objective

CLASSES = 10
# Resize(256) and Crop(224) of files whose shorter side is 375, the paper's: at every crop.
RESIZE, SOURCE = 256 / 224, 375 / 224


@dataclass(frozen=True)
class Work:
    """One size of the work that is timed.

    Attributes:
        crop: side of the crops, pixels.
        batch_size: images a step.
        steps: training steps of one timed part, and validation batches of one evaluation.
    """

    crop: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Options:
    """The flags of ``ra bench`` that comparisons share.

    Attributes:
        folder: for what is generated; removed by the caller.
        channels, blocks: of P (SRResNet) and T (residual).
        arch: training R.
        recognizers: that evaluate.
        clock: wall, or cpu for processor time.
    """

    folder: Path
    device: torch.device
    works: tuple[Work, ...]
    repeats: int
    tasks: tuple[str, ...]
    objectives: tuple[str, ...]
    arch: str
    recognizers: tuple[str, ...]
    channels: int
    blocks: int
    precision: str
    workers: int
    clock: str = "wall"

    @property
    def task(self) -> str:
        """Where one task is enough: the last, by default the dearest to degrade."""
        return self.tasks[-1]

    def interleaved(self, ways: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Seconds of every way, in turn."""
        return interleaved(ways, self.repeats, self.device, CLOCKS[self.clock])

    def runtime(self, checkpoint_seconds: float = 60.0) -> TrainingRuntime:
        return TrainingRuntime(
            workers=self.workers,
            precision=self.precision,
            checkpoint_seconds=checkpoint_seconds,
        )


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def write_photographs(root: Path, crop: int, images: int) -> Path:
    """A folder with ``images`` JPEG files in train/ and as many in val/, cut from photographs."""
    side, classes = round(crop * SOURCE), min(CLASSES, images)
    tiles: list[tuple[Image.Image, tuple[int, ...], Path]] = []
    for split, seed in (("train", 0), ("val", 1)):
        generator = np.random.default_rng(seed)
        sources = [photograph.open() for photograph in PHOTOGRAPHS[:classes]]
        for number, source in enumerate(sources):
            source.load()
            (root / split / f"{number}").mkdir(parents=True, exist_ok=True)
        for index in range(images):
            source = sources[index % classes]
            box = round(min(source.size) * generator.uniform(0.5, 1))
            left, top = (int(generator.integers(0, free - box + 1)) for free in source.size)
            path = root / split / f"{index % classes}" / f"{index:06d}.jpg"
            tiles.append((source, (left, top, left + box, top + box), path))

    def write(tile: tuple[Image.Image, Any, Path]) -> None:
        source, box, path = tile
        source.crop(box).resize((side, side)).save(path, quality=90)

    with ThreadPoolExecutor(cpus()) as pool:  # Pillow computes outside Python's lock
        list(pool.map(write, tiles))
    return root


def prepared(options: Options, crop: int, images: int, name: str = "") -> Path:
    """A prepared data set of photographs; made once per (crop, images)."""
    root = options.folder / f"photographs-{crop}-{images}"
    out = options.folder / f"prepared-{crop}-{images}{name}"
    if not root.exists():
        write_photographs(root, crop, images)
    if not (out / "dataset.json").exists():
        sizes = {"resize": round(crop * RESIZE), "crop": crop}
        # A process takes a second to start.
        prepare(root, out, name="bench", **sizes, workers=cpus() if images > 500 else 1)
    return out


def objective_of(options: Options, name: str, task: str) -> Objective:
    """A newly initialised objective; the same weights at each call."""
    torch.manual_seed(0)
    sizes = {"channels": options.channels, "blocks": options.blocks}
    networks = {"processor": build_processor("SRResNet", build_task(task).scale, **sizes)}
    kind = OBJECTIVES.get(name)
    if kind.needs_transformer:
        networks["transformer"] = build_processor("residual", 1, **sizes)
    recognizer = recognizer_of(options, options.arch) if kind.needs_recognizer else None
    return kind(recognizer=recognizer, weight=kind.default_weight, **networks)


def recognizer_of(options: Options, arch: str) -> nn.Module:
    """A frozen R with random weights: its arithmetic costs what that of trained ones costs."""
    torch.manual_seed(0)
    return freeze(build_recognizer(arch, CLASSES)).to(options.device)


def training_schedule(work: Work, epochs: int = 1) -> Schedule:
    """The default schedule with the batch size of ``work``."""
    return Schedule(epochs=epochs, batch_size=work.batch_size)


def training_crops(options: Options, work: Work, task: str) -> Crops:
    """The images of ``work.steps`` training steps."""
    data = prepared(options, work.crop, work.batch_size * work.steps)
    return Crops(ImageSplit(data, "train"), build_task(task))


def resident(options: Options, work: Work, task: str, count: int) -> list[Batch]:
    """The first ``count`` training batches, on the device, as floats."""
    crops = training_crops(options, work, task)
    keys = TrainingKeys(len(crops), work.batch_size, 1, seed=0)
    batches = loader(crops, keys, 0, options.device)
    return [batch.to(options.device) for batch in islice(batches, count)]


def repeated(batches: list[Batch], count: int) -> list[Batch]:
    """``count`` batches: ``batches`` over and over."""
    return list(islice(cycle(batches), count))
