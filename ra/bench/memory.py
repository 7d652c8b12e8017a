"""Peak memory and time of a training at the paper's size, each way in a process of its own."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import torch

from ra.bench import released
from ra.bench.measure import CLOCKS, PeakMemory, verdict
from ra.bench.scene import Options, Work, training_crops
from ra.runtime.devices import use_device
from ra.settings.shared import Machine

TARGET = 1.2  # of the released way's memory


def compare(options: Options) -> list[dict[str, object]]:
    """MiB and seconds on a CPU, ours against the released way: largest size, the paper's processor.

    Ours has the malloc of this process, as a job does; the released way has the system's. Both have
    one thread. A process's first step is part of the time.
    """
    work = max(options.works, key=lambda work: work.crop)
    paper = replace(options, device=torch.device("cpu"), **released.PAPER)
    rows = []
    for task in options.tasks:
        training_crops(paper, work, task)  # makes the images, here and not in what is measured
        with patch.dict(os.environ, LD_PRELOAD=""):
            their_peak, their_seconds = _apart(released.released, paper, work, task)
        peak, seconds = _apart(released.ours, paper, work, task)
        rows.append(
            {
                "px": work.crop,
                "batch": work.batch_size,
                "task": task,
                "released s": their_seconds,
                "ours s": seconds,
                "times as fast": their_seconds / seconds,
                "released MiB": their_peak,
                "ours MiB": peak,
                "best": peak / their_peak,
                **verdict(peak / their_peak, TARGET, at_least=False),
            }
        )
    return rows


def _apart(way, options: Options, work: Work, task: str) -> tuple[float, float]:
    """Peak MiB and seconds of a training by RA processing, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_trained, way, options, work, task).result()


def _trained(way, options: Options, work: Work, task: str) -> tuple[float, float]:
    clock = CLOCKS[options.clock]
    with use_device(Machine(device="cpu", threads=1)):
        run = way(options, work, task, "ra")
        begin = clock()
        with PeakMemory() as memory:
            run()
        return memory.peak, clock() - begin
