"""Transfer to other categories: P trained with an R that knows one half of the classes, judged by
an R that knows the other (method.md, "Further experiments", 3)."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ra.analysis.scores import load, score, shown, shown_p, write_scores
from ra.data.prepare import COLUMNS, SPLITS, DatasetInfo, read_info
from ra.errors import UserError
from ra.files import atomic, write_json
from ra.reporting.names import model_names
from ra.reporting.plots import panels, save

HALVES = ("A", "B")


def split_classes(data: Path, out: Path, seed: int) -> dict[str, list[str]]:
    """Write the halves A and B of a prepared data set: ``out``/A/data, ``out``/B/data.

    Each is a prepared data set with half of the classes (A has one more where their number is
    odd), and shares the pixels of the whole one. ``out``/halves.json says who is where.
    """
    info = read_info(data)
    if len(info.classes) < 4:
        raise UserError(f"{data}: has {len(info.classes)} classes; halves need at least 4")
    order = np.random.default_rng(seed).permutation(len(info.classes))
    middle = -(-len(order) // 2)
    parts = zip(HALVES, (order[:middle], order[middle:]), strict=True)
    halves = {half: sorted(info.classes[label] for label in labels) for half, labels in parts}
    for half, classes in halves.items():
        _write_half(data, info, half, classes, out / half / "data")
    write_json(out / "halves.json", {"seed": seed, "data_digest": info.digest, **halves})
    return halves


def _write_half(data: Path, info: DatasetInfo, half: str, classes: list[str], out: Path) -> None:
    labels = {info.classes.index(name): label for label, name in enumerate(classes)}
    counts = {}
    for split in SPLITS:
        with open(data / f"{split}.csv", newline="", encoding="utf-8") as rows:
            kept = [row for row in csv.DictReader(rows) if int(row["label"]) in labels]
        with atomic(out / f"{split}.csv") as temporary:
            with open(temporary, "w", newline="", encoding="utf-8") as rows:
                writer = csv.DictWriter(rows, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows({**row, "label": labels[int(row["label"])]} for row in kept)
        counts[split] = len(kept)
        if info.decoded:
            _share(data / f"{split}.bin", out / f"{split}.bin")
    digest = hashlib.sha256(json.dumps([info.digest, classes]).encode()).hexdigest()
    own = {"name": f"{info.name}-{half}", "classes": tuple(classes), "images": counts}
    write_json(out / "dataset.json", asdict(replace(info, **own, digest=digest)))


def _share(pixels: Path, link: Path) -> None:
    """A hard link, so that preparing the whole again never changes what a half reads."""
    with atomic(link) as temporary:
        try:
            os.link(pixels, temporary)
        except OSError:  # a file system without hard links
            temporary.symlink_to(pixels.resolve())


def write_categories(trained_on: dict[str, Sequence[Path]], out: Path) -> None:
    """categories.csv, .md and .png from the evaluations of P's trained on each half."""
    judged = [
        ({**labels, "judged_on": str(labels["dataset"]).rpartition("-")[2]}, images)
        for half, paths in trained_on.items()
        for labels, images in load(paths, trained_on=half)
    ]
    table = score(judged)
    write_scores(table, _readable(table), out / "categories.csv")
    _draw(table, out / "categories.png")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """One row per P; of each half on which it is judged the accuracy and the gain over plain."""
    cells = pd.DataFrame(
        {
            "Task": table.task,
            "P Model": model_names(table),
            "Trained on": table.trained_on,
            "judged_on": table.judged_on,
            "top-1 [95 %]": shown(table, "top1"),
            "over plain [95 %]": shown(table, "difference", sign="+"),
            "p": shown_p(table),
            "n": table.n,
        }
    )
    keys = ["Task", "P Model", "Trained on"]
    if table.evaluation_r.nunique() > 1:
        cells.insert(3, "R", table.evaluation_r)
        keys.append("R")
    parts = []
    for half, rows in cells.groupby("judged_on"):
        named = rows.drop(columns="judged_on").set_index(keys)
        parts.append(named.add_prefix(f"R_{half} on {half}: "))
    return pd.concat(parts, axis=1).reset_index()


def _draw(table: pd.DataFrame, path: Path) -> None:
    """Per task the four ways from the half of training to that of judging; plain beside RA."""
    tasks = list(table.task.unique())
    figure, drawn = panels(len(tasks), width=4.2, height=3.6)
    ways = [(trained, judged) for judged in HALVES for trained in HALVES]
    for axes, task in zip(drawn, tasks, strict=True):
        lines = table[table.task == task].groupby(["p_model", "evaluation_r"])
        for number, ((p_model, r), rows) in enumerate(lines):
            chosen = rows.set_index(["trained_on", "judged_on"]).reindex(ways)
            x = np.arange(len(ways)) + 0.15 * number
            error = [chosen.top1 - chosen.top1_low, chosen.top1_high - chosen.top1]
            axes.errorbar(
                x, chosen.top1, np.array(error), fmt="o", capsize=3, label=f"{p_model}, {r}"
            )
        axes.set_xticks(range(len(ways)), [f"trained {t}\njudged {j}" for t, j in ways])
        axes.set_title(task)
        axes.set_ylabel("top-1, %")
        axes.legend()
    save(figure, path)
