"""The trade between recognition and image quality: a sweep of lambda (method.md, "Further
experiments", 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.analysis.scores import OTHERS, QUALITY, load, score, shown, shown_p, write_scores
from ra.errors import UserError
from ra.reporting.names import p_model_order, p_model_title
from ra.reporting.plots import panels, save

KEYS = ["task", "p_model", "lambda"]
UNITS = {"psnr": "PSNR, dB", "ssim": "SSIM"}


def write_lambdas(evaluations: Sequence[Path], training_r: str, out: Path) -> None:
    """lambdas.csv, .md and .png: top-1 of the training R and of the others against quality."""
    judged = load(evaluations)
    if not any(f"{training_r}:top1" in images for _, images in judged):
        raise UserError(f"--training-r: {training_r} is in no evaluation; add it to --recognizers")
    table = score(judged, training_r=training_r)
    table = table.sort_values(KEYS, key=_order, kind="stable", ignore_index=True)
    for name in QUALITY:
        table[f"pareto_{name}"] = False
        for _, rows in table.groupby(["task", "evaluation_r"]):
            table.loc[rows.index, f"pareto_{name}"] = pareto(rows.top1, rows[name])
    write_scores(table, _readable(table, training_r), out / "lambdas.csv")
    _draw(table, training_r, out / "lambdas.png")


def _order(column: pd.Series) -> pd.Series:
    """Tasks as they come, P models in the tables' order, lambdas by size."""
    if column.name == "task":
        return column.map({name: number for number, name in enumerate(column.unique())})
    return column.map(p_model_order) if column.name == "p_model" else column


def pareto(accuracy: Sequence[float], quality: Sequence[float]) -> np.ndarray:
    """Which points no other one equals or beats in both while beating it in one.

    >>> pareto([50, 60, 55], [30, 28, 27]).tolist()
    [True, True, False]
    """
    points = np.column_stack([accuracy, quality])
    as_good = (points[None] >= points[:, None]).all(axis=2)
    better = (points[None] > points[:, None]).any(axis=2)
    return ~(as_good & better).any(axis=1)


def _readable(table: pd.DataFrame, training_r: str) -> pd.DataFrame:
    """One row per lambda: quality, the training R, the mean of the others; * marks Pareto."""
    parts = {}
    for r, title in ((training_r, f"{training_r} (training R)"), (OTHERS, OTHERS)):
        rows = table[table.evaluation_r == r].set_index(KEYS)
        parts |= {
            f"{title}: top-1, % [95 %]": shown(rows, "top1"),
            f"{title}: over plain": shown(rows, "difference", sign="+"),
        }
        if r == training_r:
            parts["p"] = shown_p(rows)
            quality = {
                "PSNR, dB [95 %]": shown(rows, "psnr", 2),
                "SSIM [95 %]": shown(rows, "ssim", 3),
            }
        elif len(rows):
            marks = rows[["pareto_psnr", "pareto_ssim"]].astype(object)
            parts["Pareto (others, PSNR / SSIM)"] = (
                marks.pareto_psnr.map({True: "*", False: "-"})
                + " / "
                + marks.pareto_ssim.map({True: "*", False: "-"})
            )
    readable = pd.DataFrame({**quality, **parts}).reset_index()
    readable["p_model"] = readable.p_model.map(p_model_title)
    readable["lambda"] = readable["lambda"].map("{:g}".format)
    return readable.rename(columns={"task": "Task", "p_model": "P Model"})


def _draw(table: pd.DataFrame, training_r: str, path: Path) -> None:
    """A row of panels per task; filled points are Pareto points of their curve's R."""
    chosen = [(task, name) for task in table.task.unique() for name in QUALITY]
    figure, drawn = panels(len(QUALITY), width=4.4, height=3.6, rows=table.task.nunique())
    for axes, (task, name) in zip(drawn, chosen, strict=True):
        here = table[table.task == task]
        for number, r in enumerate((training_r, OTHERS)):
            rows = here[here.evaluation_r == r]
            for marker, (p_model, points) in zip("os^Dv", rows.groupby("p_model"), strict=False):
                _draw_points(axes, points, name, f"C{number}", marker, f"{r}, {p_model}")
        axes.set_title(task)
        axes.set_xlabel(UNITS[name])
        axes.set_ylabel("top-1, %")
    drawn[0].legend(fontsize=7)
    save(figure, path)


def _draw_points(axes, points: pd.DataFrame, name: str, colour: str, marker: str, label: str):
    points = points.sort_values("lambda")
    x, y = points[name], points.top1
    errors = [
        np.array([v - points[f"{n}_low"], points[f"{n}_high"] - v])
        for n, v in ((name, x), ("top1", y))
    ]
    line = {"color": colour, "lw": 0.8, "elinewidth": 0.5, "marker": marker}
    axes.errorbar(x, y, errors[1], errors[0], label=label, **line)
    hollow = ~points[f"pareto_{name}"]
    axes.scatter(x[hollow], y[hollow], color="white", edgecolor=colour, marker=marker, zorder=3)
    for at, value in zip(zip(x, y, strict=True), points["lambda"], strict=True):
        axes.annotate(f"{value:g}", at, xytext=(4, 3), textcoords="offset points", fontsize=6)
