"""Where the time of a finished experiment went: overhead of its jobs, and a timeline of them.

Snakemake's ``*.benchmark.tsv`` say how long each job took and when it ended (the file's own
time), ``training.csv`` and ``evaluation.json`` how long it trained and evaluated. The rest of a job
is overhead: process start, imports, loading and saving of models, tracking. Jobs that do neither
(prepare, table) count as overhead as a whole.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ra.bench.measure import verdict
from ra.errors import UserError
from ra.files import atomic

TARGET = 0.10


@dataclass(frozen=True)
class Job:
    """One finished job; times in seconds, ``end`` since the epoch.

    Attributes:
        work: what it spent on images: epochs of training and passes of evaluation.
    """

    name: str
    kind: str
    end: float
    seconds: float
    work: float

    @property
    def begin(self) -> float:
        return self.end - self.seconds


def read_jobs(results: Path) -> list[Job]:
    """The jobs whose benchmarks lie below ``results``, in the order in which they began."""
    jobs = []
    for path in sorted(results.rglob("*.benchmark.tsv")):
        with open(path, newline="", encoding="utf-8") as handle:
            row = list(csv.DictReader(handle, delimiter="\t"))[-1]
        step = path.name.removesuffix(".benchmark.tsv")
        folder = path.parent.relative_to(results)
        kind = "train R" if step == "train" and "recognizers" in folder.parts else step
        seconds = float(row["s"])
        work = min(_work(path.parent, step), seconds)
        name = f"{step} {' '.join(folder.parts[1:])}".strip()
        jobs.append(Job(name, kind, path.stat().st_mtime, seconds, work))
    if not jobs:
        raise UserError(f"{results}: no *.benchmark.tsv below it; give a finished experiment")
    return sorted(jobs, key=lambda job: job.begin)


def _work(folder: Path, step: str) -> float:
    if step == "train":
        with open(folder / "training.csv", newline="", encoding="utf-8") as rows:
            return sum(float(row["seconds"]) for row in csv.DictReader(rows))
    if step == "evaluate":
        return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["seconds"]
    return 0.0


def compare(results: Path) -> list[dict[str, object]]:
    """Seconds, work and overhead of every kind of job, and of the whole experiment."""
    jobs = read_jobs(results)
    kinds = dict.fromkeys(job.kind for job in jobs)
    rows = [_row(kind, [job for job in jobs if job.kind == kind]) for kind in kinds]
    rows.append(_row("all jobs", jobs))
    told = verdict(rows[-1]["overhead / work"], TARGET, at_least=False)
    return [row | dict.fromkeys(told, "") for row in rows[:-1]] + [rows[-1] | told]


def _row(kind: str, jobs: Sequence[Job]) -> dict[str, object]:
    seconds, work = sum(job.seconds for job in jobs), sum(job.work for job in jobs)
    return {
        "jobs of": kind,
        "jobs": len(jobs),
        "s": seconds,
        "work s": work,
        "overhead s": seconds - work,
        "overhead s/job": (seconds - work) / len(jobs),
        "overhead / work": (seconds - work) / work if work else float("inf"),
    }


def makespan(jobs: Sequence[Job]) -> float:
    """Seconds from the first begin to the last end."""
    return max(job.end for job in jobs) - min(job.begin for job in jobs)


def busy(jobs: Sequence[Job]) -> dict[int, float]:
    """Seconds during which n jobs ran, by n."""
    events = sorted([(job.begin, 1) for job in jobs] + [(job.end, -1) for job in jobs])
    found: dict[int, float] = {}
    running = 0
    for (at, change), (following, _) in pairwise(events):
        running += change
        found[running] = found.get(running, 0.0) + following - at
    return found


def concurrency(results: Path) -> list[dict[str, object]]:
    """For how long how many jobs ran at once; none: Snakemake itself between two jobs."""
    jobs = read_jobs(results)
    whole = makespan(jobs)
    return [
        {"jobs at once": count, "s": seconds, "share of all s": seconds / whole}
        for count, seconds in sorted(busy(jobs).items())
    ]


def lanes(jobs: Sequence[Job]) -> list[int]:
    """A lane for every job such that jobs in one lane do not overlap; as few as may be."""
    free: list[float] = []
    chosen = []
    for job in jobs:
        lane = next((n for n, end in enumerate(free) if end <= job.begin + 0.5), len(free))
        free[lane : lane + 1] = [job.end]
        chosen.append(lane)
    return chosen


def draw_timeline(path: Path, jobs: Sequence[Job]) -> None:
    """PNG: one bar per job over time, its overhead in grey at its left."""
    # Imported here: only jobs that draw pay for it. The Agg canvas needs no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = lanes(jobs)
    start = min(job.begin for job in jobs)
    figure = Figure(figsize=(14, 1.6 + 0.9 * (max(rows) + 1)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(job.kind for job in jobs))
    for number, kind in enumerate(kinds):
        chosen = [(job, row) for job, row in zip(jobs, rows, strict=True) if job.kind == kind]
        at = np.array([row for _, row in chosen])
        left = np.array([job.begin - start for job, _ in chosen])
        overhead = np.array([job.seconds - job.work for job, _ in chosen])
        work = np.array([job.work for job, _ in chosen])
        axes.barh(at, overhead, left=left, color="lightgrey", edgecolor="black", linewidth=0.4)
        axes.barh(at, work, left=left + overhead, color=f"C{number}", edgecolor="black",
                  linewidth=0.4, label=kind)  # fmt: skip
    axes.barh(0, 0, color="lightgrey", label="overhead (start, imports, models, tracking)")
    axes.set_yticks(range(max(rows) + 1), [f"job {n + 1}" for n in range(max(rows) + 1)])
    axes.set_xlabel("seconds since the first job began")
    total, overhead = sum(j.seconds for j in jobs), sum(j.seconds - j.work for j in jobs)
    axes.set_title(
        f"{len(jobs)} jobs, {total:.0f} s in {makespan(jobs):.0f} s; overhead {overhead:.0f} s"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=len(kinds) + 1)
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary)
