"""Seconds and memory as images, recognizers and processors grow in number; what jobs share."""

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ra.bench.measure import PeakMemory, spread, verdict
from ra.bench.scene import Options, Work, objective_of, prepared, recognizer_of, training_crops
from ra.bench.training import complete
from ra.data.batches import loader, validation_keys
from ra.data.degradations import build_task
from ra.data.prepare import prepare
from ra.data.splits import Crops, ImageSplit
from ra.evaluation.evaluate import evaluate
from ra.settings.shared import Schedule

FACTORS = (1, 4, 16)
READERS = 3  # jobs that read one cache at once
LINEAR = 1.15  # seconds per unit at 16x, at most this many times those at 4x
FLAT = 1.1  # memory at 16x, at most this many times the larger of 1x and 4x


def compare(options: Options) -> list[dict[str, object]]:
    """Growth at the first of the sizes, with the first objective that reads an R."""
    work, task = _smallest(options), options.task
    mode = next((name for name in options.objectives if name != "plain"), "plain")
    context = multiprocessing.get_context("forkserver")
    # Evaluation imports torchmetrics late; each of the processes below would do so again.
    context.set_forkserver_preload(["ra.bench.growth", "torchmetrics.functional.image"])
    rows = []
    for what, measure in (
        ("images, prepare", partial(_prepare, options, work)),
        ("images, train", partial(_train, options, work, task, mode)),
        ("images, evaluate", partial(_evaluate_images, options, work, task)),
        ("recognizers, evaluate", partial(_evaluate_recognizers, options, work, task)),
        ("processors, train", partial(_train_several, options, work, task, mode)),
    ):
        rows.append(_growth(what, measure, context, options.repeats))
    return rows


def sharing(options: Options) -> list[dict[str, object]]:
    """Pages of one cache in the memory of several jobs that read all of it at once."""
    work = _smallest(options)
    data = prepared(options, work.crop, FACTORS[-1] * work.batch_size * work.steps)
    context = multiprocessing.get_context("forkserver")
    together = context.Barrier(READERS)
    queue = context.Queue()
    readers = [
        context.Process(target=_read_all, args=(data, together, queue)) for _ in range(READERS)
    ]
    for reader in readers:
        reader.start()
    pages = [queue.get(timeout=120) for _ in readers]
    for reader in readers:
        reader.join()
    size = os.path.getsize(data / "train.bin") / 1024
    held = sum(page["Pss"] for page in pages)
    return [
        {
            "jobs": READERS,
            "cache KiB": round(size),
            "mapped KiB, all jobs": sum(page["Rss"] for page in pages),
            "held KiB, all jobs": held,
            "of these private KiB": sum(page["private"] for page in pages),
            "best": held / size,
            **verdict(held / size, 1.1, at_least=False),
        }
    ]


def epochs(options: Options) -> list[dict[str, object]]:
    """The first epoch, its cache not yet in memory, against the second, and the decoding."""
    work, task = _smallest(options), options.task
    work = _scaled(work, FACTORS[-1])
    first, second, decode = [], [], []
    for repeat in range(options.repeats):
        source = training_crops(options, work, task).split.info
        out = options.folder / f"epochs-{repeat}"
        begin = time.perf_counter()
        prepare(Path(source.root), out, name="bench", resize=source.resize, crop=source.crop)
        decode.append(time.perf_counter() - begin)
        forget(out / "train.bin")
        crops = Crops(ImageSplit(out, "train"), build_task(task))
        history = complete(
            objective_of(options, "plain", task),
            crops,
            Schedule(epochs=2, batch_size=work.batch_size),
            options,
            checkpoint_seconds=60,
        )
        first.append(history[0]["seconds"])
        second.append(history[1]["seconds"])
        shutil.rmtree(out)
    ratio = spread(first, [s + d for s, d in zip(second, decode, strict=True)])
    return [
        {
            "px": work.crop,
            "images": len(crops),
            "decode s": min(decode),
            "first epoch s": min(first),
            "second epoch s": min(second),
            **ratio,
            **verdict(ratio["best"], 1.0, at_least=False),
        }
    ]


def forget(path: Path) -> None:
    """Drop ``path`` from the page cache, so that the next read comes from the disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def _growth(what: str, measure, context, repeats: int) -> dict[str, object]:
    """Per factor the shortest seconds and largest memory (MiB), each time a new process."""
    seconds: dict[int, float] = {}
    loaded, peak = {}, {}
    for _ in range(repeats):
        for factor in FACTORS:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                took, before, most = pool.submit(_measured, measure, factor).result()
            seconds[factor] = min(took, seconds.get(factor, took))
            loaded[factor], peak[factor] = before, max(most, peak.get(factor, 0.0))
    # Against the step before, not the first: fixed costs weigh on the smallest most.
    slope = (seconds[16] / 16) / (seconds[4] / 4)
    # What is loaded before the work begins is the weights: they grow with the recognizers. Of a
    # peak shorter than the time between two looks the smaller ones may show nothing.
    taken = {factor: peak[factor] - loaded[factor] for factor in FACTORS}
    flat = (loaded[4] + taken[16]) / (loaded[4] + max(taken[1], taken[4]))
    return {
        "growing": what,
        **{f"s {factor}x": seconds[factor] for factor in FACTORS},
        "s per unit, 16x : 4x": slope,
        **_named("s", verdict(slope, LINEAR, at_least=False)),
        **{f"loaded MiB {factor}x": loaded[factor] for factor in FACTORS},
        **{f"peak MiB {factor}x": peak[factor] for factor in FACTORS},
        "MiB, 16x : 1x or 4x": flat,
        **_named("MiB", verdict(flat, FLAT, at_least=False)),
    }


def _named(what: str, told: dict[str, object]) -> dict[str, object]:
    return {f"{what} {key}": value for key, value in told.items()}


def _measured(measure, factor: int) -> tuple[float, float, float]:
    """(seconds, MiB before, peak MiB) of the work that ``measure(factor)`` sets up."""
    torch.set_num_threads(1)
    measure(1)()  # what is imported or allocated once
    run = measure(factor)
    begin = time.perf_counter()
    with PeakMemory() as memory:
        run()
    return time.perf_counter() - begin, memory.start, memory.peak


def _smallest(options: Options) -> Work:
    """A quarter of the first size's steps; the largest factor makes four times as many of it."""
    work = options.works[0]
    return replace(work, steps=max(1, work.steps // 4))


def _scaled(work: Work, factor: int) -> Work:
    return replace(work, steps=work.steps * factor)


def _prepare(options: Options, work: Work, factor: int) -> Callable[[], object]:
    scaled = _scaled(work, factor)
    source = training_crops(options, scaled, "dn").split.info
    out = options.folder / f"again-{factor}"

    def run() -> None:
        prepare(Path(source.root), out, name="bench", resize=source.resize, crop=source.crop)
        shutil.rmtree(out)

    return run


def _train(options: Options, work: Work, task: str, mode: str, factor: int):
    scaled = _scaled(work, factor)
    crops = training_crops(options, scaled, task)
    objective = objective_of(options, mode, task)
    schedule = Schedule(epochs=1, batch_size=work.batch_size)
    return lambda: complete(objective, crops, schedule, options, checkpoint_seconds=60)


def _train_several(options: Options, work: Work, task: str, mode: str, factor: int):
    """``factor`` processors, one after the other."""
    return lambda: [_train(options, work, task, mode, 1)() for _ in range(factor)]


def _evaluate_images(options: Options, work: Work, task: str, factor: int):
    return _evaluation(options, _scaled(work, factor), task, 1)


def _evaluate_recognizers(options: Options, work: Work, task: str, factor: int):
    return _evaluation(options, work, task, factor)


def _evaluation(options: Options, work: Work, task: str, recognizers: int):
    data = prepared(options, work.crop, work.batch_size * work.steps)
    crops = Crops(ImageSplit(data, "val"), build_task(task))
    keys = validation_keys(len(crops), work.batch_size)
    processor = objective_of(options, "plain", task).modules["processor"]
    networks = {f"R{n}": recognizer_of(options, options.arch) for n in range(recognizers)}
    scale = build_task(task).scale

    def evaluated(keys) -> None:
        batches = loader(crops, keys, 0, options.device)
        evaluate(processor, None, networks, batches, scale, options.device)

    evaluated(
        keys[:1]
    )  # on a CPU a recognizer packs its weights at its first batch: that is loading
    return lambda: evaluated(keys)


def _read_all(data: Path, together, queue) -> None:
    """Touch every pixel, wait for the others, tell what the mapping holds (KiB)."""
    split = ImageSplit(data, "train")
    sum(int(split.image(index).sum()) for index in range(len(split)))
    together.wait(timeout=60)
    pages = mapping(data / "train.bin")
    together.wait(timeout=60)
    queue.put(pages)


def mapping(path: Path) -> dict[str, int]:
    """KiB of this process's mapping of ``path``: Rss, Pss (its share) and private pages."""
    found = {"Rss": 0, "Pss": 0, "private": 0}
    inside = False
    names = {"Rss": "Rss", "Pss": "Pss", "Private_Clean": "private", "Private_Dirty": "private"}
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if "-" in line.split()[0]:  # a new mapping: address range, rights, ..., file
            inside = line.endswith(str(path.resolve()))
        elif inside and name in names:
            found[names[name]] += int(rest.split()[0])
    return found
