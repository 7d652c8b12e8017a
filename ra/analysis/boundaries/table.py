"""Similarity of boundaries x transfer gain: does an RA P help those R's that resemble its own?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd

from ra.errors import UserError
from ra.evaluation.statistics import mean, permuted_correlation, rank_coefficient
from ra.files import atomic, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting.tables import read_evaluations

SIMILARITIES = ("region_agreement", "distance_rho", "gradient_cosine")
AXES = {
    "region_agreement": "agreement of regions (%)",
    "distance_rho": "rank correlation of distances",
    "gradient_cosine": "cosine of gradients",
    "gain": "gain of RA over plain, top-1 (points)",
}
KEYS = ["task", "p_model", "lambda", "training_r"]


def transfer_gains(evaluations: Sequence[Path]) -> pd.DataFrame:
    """Top-1 of RA minus plain P (percentage points), with the paired 95 % interval over images.

    Reads ``images.csv`` beside every evaluation.csv. Where there are several seeds, an image
    counts with its mean over them.

    Returns:
        One row per RA P (task, p_model, lambda, training_r) and evaluation_r: gain, low, high, n.
    """
    hits: dict[tuple, dict[str, list[pd.Series]]] = {}
    for path in evaluations:
        tidy = read_evaluations([path])
        images = _images(path)
        identity = tuple(tidy.iloc[0][key] for key in KEYS)
        for r in tidy[tidy.metric == "top1"].evaluation_r:
            hits.setdefault(identity, {}).setdefault(r, []).append(images[f"{r}:top1"])
    per_image = {
        identity: {r: pd.concat(parts, axis=1).mean(axis=1) for r, parts in of_r.items()}
        for identity, of_r in hits.items()
    }
    plain = {key[0]: of_r for key, of_r in per_image.items() if key[1] == "plain"}
    rows = []
    for identity, of_r in per_image.items():
        for r, hit in of_r.items():
            if identity[3] != NO_RECOGNIZER and r in plain.get(identity[0], {}):
                gain = mean(100 * (hit - plain[identity[0]][r]))
                rows.append(dict(zip(KEYS, identity, strict=True)) | {"evaluation_r": r} | gain)
    if not rows:
        raise UserError("--evaluations: no RA P and plain P of one task and one evaluation R")
    return pd.DataFrame(rows).rename(columns={"value": "gain"})


def _images(path: Path) -> pd.DataFrame:
    beside = path.with_name("images.csv")
    try:
        return pd.read_csv(beside, index_col="index")
    except (OSError, ValueError) as error:
        raise UserError(f"{beside}: cannot be read ({error}); run ra evaluate again") from None


def similarity_and_gain(pairs: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Join: one row per RA P and evaluation R other than its training R, with three similarities.

    ``distance_rho`` is the mean of the coefficients along the shared directions.
    """
    wide = pairs.pivot_table(index=[*KEYS, "r_a", "r_b"], columns="measure", values="value")
    wide = wide.reindex(columns=sorted(pairs.measure.unique())).reset_index()
    along = [name for name in wide.columns if name.startswith("distance_rho_")]
    wide["distance_rho"] = wide[along].mean(axis=1)
    # A pair is stored once; either of the two may be the training R.
    other = np.where(wide.r_a == wide.training_r, wide.r_b, wide.r_a)
    wide["evaluation_r"] = other
    mine = wide[(wide.r_a == wide.training_r) | (wide.r_b == wide.training_r)]
    columns = [*KEYS, "evaluation_r", *SIMILARITIES, *along]
    return mine[columns].merge(gains, on=[*KEYS, "evaluation_r"], how="inner")


def correlations(table: pd.DataFrame, seed: int = 0, rounds: int = 4999) -> pd.DataFrame:
    """Rank correlation of each similarity with the gain.

    Returns:
        Columns similarity, n, spearman and p, spearman_within_r and p_within_r, pooled. Both are
        ranked within their task, so that tasks of other difficulty do not pretend a relation, and
        once more within their task and training R, so that neither do training R's that help all
        others more; ``pooled`` ranks all. p is two-sided, from ``rounds`` random re-pairings
        within the groups. NaN where the ranks of either do not differ.
    """
    rows = []
    for measure in SIMILARITIES:
        known = table.dropna(subset=[measure, "gain"])
        row = {"similarity": measure, "n": len(known)}
        for end, keys in (("", ["task"]), ("_within_r", ["task", "training_r"])):
            groups = known.groupby(keys)
            ranks = groups[[measure, "gain"]].rank()
            ranks -= ranks.groupby([known[key] for key in keys]).transform("mean")
            places = list(groups.indices.values())
            found = permuted_correlation(*ranks.to_numpy().T, places, seed, rounds)
            row[f"spearman{end}"], row[f"p{end}"] = found
        rows.append({**row, "pooled": rank_coefficient(known[measure], known["gain"])})
    return pd.DataFrame(rows)


def write_transfer(pairs: Sequence[Path], evaluations: Sequence[Path], out: Path) -> None:
    """Write transfer.csv, correlation.csv, boundaries.md and scatter.png into ``out``."""
    try:
        similar = pd.concat([pd.read_csv(path, dtype={"training_r": str}) for path in pairs])
    except (OSError, ValueError) as error:
        raise UserError(f"--pairs: cannot be read ({error})") from None
    table = similarity_and_gain(similar, transfer_gains(evaluations))
    if table.empty:
        raise UserError("--pairs and --evaluations: no pair of R's is in both")
    related = correlations(table)
    for name, frame in (("transfer", table), ("correlation", related)):
        with atomic(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.4f")
    shown = table[[*KEYS[:1], "training_r", "evaluation_r", *SIMILARITIES]].copy()
    shown["gain (points, 95 %)"] = [
        f"{g:+.1f} [{low:+.1f}, {high:+.1f}]"
        for g, low, high in zip(table.gain, table.low, table.high, strict=True)
    ]
    shown["n"] = table.n
    parts = [f.to_markdown(index=False, floatfmt=".3f") for f in (shown, related)]
    write_text(out / "boundaries.md", "\n\n".join(parts) + "\n")
    write_scatter(out / "scatter.png", table)


def write_scatter(path: Path, table: pd.DataFrame) -> None:
    """PNG: one panel per similarity, the gain over it, a colour per task and a mark per R."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    colours = {task: f"C{number}" for number, task in enumerate(table.task.unique())}
    marks = dict(zip(table.evaluation_r.unique(), cycle("osD^vP*X<>"), strict=False))
    figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, measure in zip(figure.subplots(1, 3, sharey=True), SIMILARITIES, strict=True):
        for (task, judge), rows in table.groupby(["task", "evaluation_r"], sort=False):
            spread = [rows.gain - rows.low, rows.high - rows.gain]
            look = {"fmt": marks[judge], "color": colours[task], "capsize": 2}
            axes.errorbar(rows[measure], rows.gain, spread, **look)
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.set_xlabel(AXES[measure])
    figure.axes[0].set_ylabel(AXES["gain"])
    handles = [Line2D([], [], color=colour, label=task) for task, colour in colours.items()]
    for judge, mark in marks.items():
        look = {"color": "black", "marker": mark, "linestyle": ""}
        handles.append(Line2D([], [], label=f"judged by {judge}", **look))
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary)
