"""Interleaved timing, and ratios that a reader can trust also on a machine that is shared."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import pandas as pd
import torch

from ra.files import atomic, write_text

# Processor time is that of all threads: other jobs do not disturb it, free cores do not help.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# Torch reports no row for these; a row that this machine cannot measure says so in this column.
NOT_MEASURED = "not measured"


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every way in every repeat; all are called once before, untimed.

    The order turns with each repeat, so that no way always runs in another's wake.
    """
    names = list(ways)
    for name in names:
        ways[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            synchronise(device)
            begin = clock()
            ways[name]()
            synchronise(device)
            seconds[name].append(clock() - begin)
    return seconds


def synchronise(device: torch.device) -> None:
    """Wait for all that was given to ``device``."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Minimum, median and maximum of the ratios of paired times, and the ratio of the minima.

    What disturbs a machine only ever adds time, so the ratio of the shortest times (``best``) is
    the one that a busy machine changes least.
    """
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return {
        "min": min(ratios),
        "median": statistics.median(ratios),
        "max": max(ratios),
        "best": min(numerator) / min(denominator),
    }


def verdict(value: float, target: float, at_least: bool) -> dict[str, object]:
    """The target, in words, and whether ``value`` meets it."""
    met = value >= target if at_least else value <= target
    return {"target": f"{'>=' if at_least else '<='} {target:g}", "met": "yes" if met else "no"}


class PeakMemory:
    """This process's anonymous memory (MiB) at the ``start`` and the ``peak`` of a ``with`` block.

    Resident files are left out: pages of the memory-mapped cache belong to the kernel, which
    shares them and takes them back.
    """

    def __enter__(self) -> Self:
        self.start = self.peak = _anonymous()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.peak = max(self.peak, _anonymous())

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            self.peak = max(self.peak, _anonymous())


def _anonymous() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no RssAnon")


def write_rows(out: Path, name: str, rows: list[dict[str, object]]) -> str:
    """Write ``rows`` as NAME.csv and, rounded, NAME.md in ``out``; returns the Markdown."""
    frame = pd.DataFrame(rows)
    with atomic(out / f"{name}.csv") as temporary:
        frame.to_csv(temporary, index=False)
    shown = frame.astype(object).map(_rounded)
    markdown = shown.to_markdown(index=False, disable_numparse=True) + "\n"
    write_text(out / f"{name}.md", markdown)
    return markdown


def _rounded(value: object) -> str:
    if value is None or value != value:
        return NOT_MEASURED
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if 999.5 <= abs(value) < float("inf") else f"{value:.3g}"
