"""The trade between recognition and image quality: a sweep of lambda (method.md, "Further
experiments", 6)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.analysis.command_settings import LambdaSweep
from ra.analysis.scores import (
    OTHERS,
    load,
    quality_in,
    score,
    shown,
    shown_p,
    shown_quality,
    spread,
    write_scores,
)
from ra.errors import UserError
from ra.evaluation.quality import MEASURES
from ra.reporting.names import (
    CLEAN,
    measure_title,
    p_model_order,
    p_model_title,
    recognizer_title,
    task_title,
)
from ra.reporting.plots import panels, save
from ra.reporting.significance import recognizers_in

KEYS = ["task", "p_model", "lambda"]


def write_lambdas(o: LambdaSweep) -> None:
    """Write lambdas.csv, .md and .png: accuracy against image quality.

    Accuracy is that of the training recognizer, and the mean of the others.
    """
    known, training_r = load(o.evaluations), o.training_r
    if not any(training_r in recognizers_in(images) for _, images in known):
        raise UserError(f"--training-r: {training_r} is in no evaluation; add it to --recognizers")
    table = score(known, training_r=training_r)
    table = table.sort_values(KEYS, key=_order, kind="stable", ignore_index=True)
    measures = quality_in(table)
    if not measures:
        raise UserError("--evaluations: no measure of image quality in them; add psnr to metrics")
    for name in measures:
        sign = 1 if MEASURES.get(name).higher_is_better else -1
        table[f"pareto_{name}"] = False
        for _, rows in table.groupby(["task", "evaluation_r"]):
            table.loc[rows.index, f"pareto_{name}"] = pareto(rows.score, sign * rows[name])
    write_scores(table, _readable(table, training_r), o.save_dir / "lambdas.csv")
    _draw(table, training_r, o.save_dir / "lambdas.png")


def _order(column: pd.Series) -> pd.Series:
    """Tasks as they come, processors in the order of the tables, lambdas by size."""
    if column.name == "task":
        return column.map({name: number for number, name in enumerate(column.unique())})
    return column.map(p_model_order) if column.name == "p_model" else column


def pareto(accuracy: Sequence[float], quality: Sequence[float]) -> np.ndarray:
    """Which points no other one equals or beats in both while beating it in one; NaN is none.

    >>> pareto([50, 60, 55, float("nan")], [30, 28, 27, 40]).tolist()
    [True, True, False, False]
    """
    points = np.column_stack([accuracy, quality])
    as_good = (points[None] >= points[:, None]).all(axis=2)
    better = (points[None] > points[:, None]).any(axis=2)
    return ~np.any(as_good & better, axis=1) & ~np.isnan(points).any(axis=1)


def _readable(table: pd.DataFrame, training_r: str) -> pd.DataFrame:
    """One row per lambda: quality, the training recognizer, the mean of the others."""
    rows = table[table.evaluation_r == training_r].set_index(KEYS)
    others = table[table.evaluation_r == OTHERS].set_index(KEYS)
    title, measures = f"{recognizer_title(training_r)} (training R)", quality_in(table)
    what = ", ".join(rows.measure.unique())
    columns = {f"{measure_title(m)} [95 %]": shown_quality(rows, m) for m in measures}
    columns |= {
        f"{title}: {what}, % [95 %]": shown(rows, "score"),
        f"{title}: over plain": shown(rows, "difference", sign="+"),
        "p": shown_p(rows),
        "p (Holm)": shown_p(rows, "p_holm"),
        f"{OTHERS}: {what}, % [95 %]": shown(others, "score"),
        f"{OTHERS}: over plain": shown(others, "difference", sign="+"),
    }
    if len(others):
        marks = others[[f"pareto_{m}" for m in measures]].replace({True: "*", False: "-"})
        columns[f"Pareto (others; {' / '.join(map(measure_title, measures))})"] = marks.agg(
            " / ".join, axis=1
        )
    readable = pd.DataFrame(columns).reset_index()
    readable["task"] = readable.task.map(task_title)
    readable["p_model"] = readable.p_model.map(p_model_title)
    readable["lambda"] = readable["lambda"].map("{:g}".format)
    return readable.rename(columns={"task": "Task", "p_model": "P Model"})


def _draw(table: pd.DataFrame, training_r: str, path: Path) -> None:
    """A row of panels per task; filled points are Pareto points of their curve."""
    chosen = [(task, name) for task in table.task.unique() for name in quality_in(table)]
    figure, drawn = panels(len(quality_in(table)), width=4.4, height=3.6, rows=table.task.nunique())
    for axes, (task, name) in zip(drawn, chosen, strict=True):
        here = table[table.task == task]
        for colour, r in (("C0", training_r), ("C1", OTHERS)):
            own = here[here.evaluation_r == r]
            for row in own[own.p_model == CLEAN].itertuples():
                axes.axhline(row.score, color=colour, ls=":", label=f"{r}, {CLEAN}")
            curves = own[own.p_model != CLEAN].groupby("p_model")
            for marker, (p_model, points) in zip("os^Dv", curves, strict=False):
                look = {"color": colour, "marker": marker, "label": f"{r}, {p_model}"}
                _draw_curve(axes, points.sort_values("lambda"), name, **look)
        axes.set_title(task)
        axes.set_xlabel(measure_title(name))
        axes.set_ylabel(f"{here.measure.iloc[0]}, %")
    drawn[0].legend(fontsize=7)
    save(figure, path)


def _draw_curve(axes, points: pd.DataFrame, name: str, color: str, marker: str, label: str) -> None:
    x, y = points[name], points.score
    line = {"color": color, "marker": marker, "label": label, "lw": 0.8, "elinewidth": 0.5}
    axes.errorbar(x, y, spread(points, "score"), spread(points, name), **line)
    hollow = ~points[f"pareto_{name}"]
    axes.scatter(x[hollow], y[hollow], color="white", edgecolor=color, marker=marker, zorder=3)
    for *at, value in zip(x, y, points["lambda"], strict=True):
        axes.annotate(f"{value:g}", at, xytext=(4, 3), textcoords="offset points", fontsize=6)
