"""Transfer between kinds of recognizers: processors trained through a classifier, a detector, a
segmenter or several, each evaluated by every kind on the same images."""

from pathlib import Path

import pandas as pd

from ra.analysis.command_settings import Kinds
from ra.analysis.scores import load, score, shown, shown_p, write_scores
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import UNTRAINED, p_model_title, recognizer_title, task_title
from ra.reporting.plots import write_heat_map


def write_kinds(o: Kinds) -> None:
    """Write kinds.csv, .md and .png.

    A processor is compared with the plain one that was trained on the same images.
    """
    known = [one for name, *paths in o.group for one in load([*map(Path, paths)], trained_on=name)]
    table = score(known)
    write_scores(table, _readable(table), o.save_dir / "kinds.csv")
    trained = table[table.training_r != NO_RECOGNIZER]
    rows = trained.task.map(task_title) + ", " + trained.training_r.map(recognizer_title)
    rows += " on " + trained.trained_on
    columns = trained.evaluation_r.map(recognizer_title) + "\n" + trained.measure
    gains = trained.assign(row=rows, column=columns).pivot(
        index="row", columns="column", values="difference"
    )
    gains = gains.reindex(index=rows.unique(), columns=columns.unique())
    write_heat_map(o.save_dir / "kinds.png", gains, "Gain over plain", unit="points")


def _title(row: pd.Series) -> str:
    """``RA Processing (ResNet-18) on embedded``."""
    title = p_model_title(row.p_model)
    if row.training_r != NO_RECOGNIZER:
        title += f" ({recognizer_title(row.training_r)})"
        return f"{title} on {row.trained_on}"
    return title if row.p_model in UNTRAINED else f"{title} on {row.trained_on}"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """A row per processor; score, gain over plain and test by each recognizer."""
    keys = {"Task": table.task.map(task_title), "P Model": table.apply(_title, axis=1)}
    gain = shown(table, "difference", sign="+")
    cells = {"%": shown(table, "score"), "over plain": gain, "p (Holm)": shown_p(table, "p_holm")}
    readable = pd.DataFrame({**keys, **cells}).set_index(list(keys))
    parts = []
    for r in table.evaluation_r.unique():
        rows = (table.evaluation_r == r).to_numpy()
        measure = table.measure[rows].iloc[0]
        part = readable[rows].rename(columns={"%": f"{measure}, % [95 %]"})
        parts.append(part.add_prefix(f"{recognizer_title(r)}: "))
    return pd.concat(parts, axis=1).reset_index()
