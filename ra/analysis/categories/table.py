"""Transfer to other categories: processors trained with a recognizer of one half of the classes,
evaluated by a recognizer of the other (method.md, "Further experiments", 3)."""

from pathlib import Path

import numpy as np
import pandas as pd

from ra.analysis.categories.halves import HALVES
from ra.analysis.command_settings import Categories
from ra.analysis.scores import load, score, shown_scores, spread, write_scores
from ra.reporting.names import CLEAN, model_names, recognizer_title, task_title
from ra.reporting.plots import panels, save

WAY = ["trained_on", "evaluated_on"]


def write_categories(o: Categories) -> None:
    """Write categories.csv, .md and .png from evaluations of processors by half of training."""
    known = []
    for half, paths in zip(HALVES, (o.trained_on_a, o.trained_on_b), strict=True):
        for labels, images in load(paths):
            trained_on = "" if labels["p_model"] == CLEAN else half
            own = {"trained_on": trained_on, "evaluated_on": str(labels["dataset"])[-1]}
            known.append(({**labels, **own}, images))
    table = score(known)
    write_scores(table, _readable(table), o.save_dir / "categories.csv")
    _draw(table, o.save_dir / "categories.png")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """One row per processor; per half on which it is evaluated accuracy and gain over plain."""
    keys = {
        "Task": table.task.map(task_title),
        "P Model": model_names(table),
        "Trained on": table.trained_on,
    }
    if table.evaluation_r.nunique() > 1:
        keys["R"] = table.evaluation_r.map(recognizer_title)
    cells = pd.DataFrame({**keys, **shown_scores(table)}).set_index(list(keys))
    halves = table.evaluated_on.to_numpy()
    parts = [cells[halves == h].add_prefix(f"R_{h} on {h}: ") for h in sorted(set(halves))]
    return pd.concat(parts, axis=1).reset_index()


def _draw(table: pd.DataFrame, path: Path) -> None:
    """Per task the four ways from the half of training to that of evaluation."""
    tasks = list(table.task.unique())
    figure, drawn = panels(len(tasks), width=4.2, height=3.6)
    ways = [(trained, evaluated) for evaluated in HALVES for trained in HALVES]
    for axes, task in zip(drawn, tasks, strict=True):
        lines = table[table.task == task].groupby(["p_model", "evaluation_r"])
        for number, (names, rows) in enumerate(lines):
            clean = names[0] == CLEAN  # trained on neither half
            keys, order = ("evaluated_on", [e for _, e in ways]) if clean else (WAY, ways)
            chosen = rows.set_index(keys).reindex(order)
            x = np.arange(len(ways)) + 0.15 * number
            look = {"fmt": "o", "capsize": 3, "label": ", ".join(names)}
            axes.errorbar(x, chosen.score, spread(chosen, "score"), **look)
        axes.set_xticks(range(len(ways)), [f"trained {t}\nevaluated {e}" for t, e in ways])
        axes.set_title(task)
        axes.set_ylabel("top-1, %")
        axes.legend()
    save(figure, path)
