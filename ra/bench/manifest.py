"""Seconds and memory of opening a manifest of ImageNet's size, and memory of a loader process."""

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np
import psutil

from ra.bench.measure import verdict
from ra.bench.scene import Options
from ra.data.prepare import COLUMNS
from ra.data.splits import ImageSplit

IMAGES, CLASSES = 1_281_167, 1000
LOOK_UPS = 400_000
TARGETS = {"s to open": 1.5, "MB opened": 150, "MB private to a worker": 30}


def compare(options: Options) -> list[dict[str, object]]:
    """One row per measure: the least of several new processes, counted after their imports."""
    folder = options.folder / "manifest"
    _write(folder, IMAGES)
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    measured = []
    for _ in range(options.repeats):
        process = context.Process(target=_measure, args=(folder, queue))
        process.start()
        measured.append(queue.get(timeout=120))
        process.join()
    rows = []
    for what, target in TARGETS.items():
        best = min(values[what] for values in measured)
        told = verdict(best, target, at_least=False)
        rows.append({"images": IMAGES, "what": what, "best": best, **told})
    return rows


def _write(folder: Path, images: int) -> None:
    folder.mkdir()
    with open(folder / "train.csv", "w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for index in range(images):
            label = index * CLASSES // images
            name = f"train/n{label:08d}/n{label:08d}_{index}.JPEG"
            file.write(f"{name},{label},256,{256 + index % 90},{index * 200_000},{index:064x}\n")
    classes = [f"n{label:08d}" for label in range(CLASSES)]
    info = {"name": "made-up", "root": "/", "classes": classes, "resize": 256, "crop": 224}
    info |= {"images": {"train": images}, "decoded": False, "digest": ""}
    (folder / "dataset.json").write_text(json.dumps(info))


def _private_mb() -> float:
    return psutil.Process().memory_full_info().uss / 1e6


def _measure(folder: Path, queue) -> None:
    before, begin = _private_mb(), time.perf_counter()
    split = ImageSplit(folder, "train")
    seconds, opened = time.perf_counter() - begin, _private_mb() - before
    context = multiprocessing.get_context("fork")  # as a DataLoader starts its workers
    answer = context.Queue()
    worker = context.Process(target=_look_up, args=(split, answer))
    worker.start()
    private = answer.get(timeout=60)
    worker.join()
    queue.put(dict(zip(TARGETS, (seconds, opened, private), strict=True)))


def _look_up(split: ImageSplit, answer) -> None:
    before = _private_mb()
    for index in np.random.default_rng(0).integers(0, len(split), LOOK_UPS):
        assert split.paths[index] and split.labels[index] >= 0
    answer.put(_private_mb() - before)
