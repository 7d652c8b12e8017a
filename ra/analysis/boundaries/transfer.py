"""Does recognition-aware processing help those recognizers whose boundaries resemble the training
recognizer's? Similarity of boundaries x gain of transfer."""

from collections.abc import Iterable, Sequence
from itertools import chain, cycle, permutations, product
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ra.analysis.command_settings import BoundariesTable
from ra.analysis.scores import load, shown, shown_p
from ra.errors import UserError
from ra.evaluation.statistics import holm, mean, permuted_correlation, rank_coefficient
from ra.files import write_csv, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import recognizer_title
from ra.reporting.plots import panels, save
from ra.reporting.significance import recognizers_in

AXES = {
    "region_agreement": "agreement of regions (%)",
    "distance_rho": "rank correlation of distances",
    "gradient_cosine": "cosine of gradients",
}
KEYS = ["task", "p_model", "lambda", "training_r"]
RANKED = {"task": ["task"], "task and training R": ["task", "training_r"]}


def transfer_gains(evaluations: Sequence[Path]) -> pd.DataFrame:
    """Top-1 over the plain processor's (percentage points), with the paired 95 % interval.

    Where there are several seeds, an image counts with its mean over them.

    Returns:
        One row per KEYS and evaluation_r: gain, low, high, n (images).
    """
    hits: dict[tuple, list[pd.Series]] = {}
    for labels, images in load(evaluations):
        for r, metric in recognizers_in(images).items():
            key = (*(labels[name] for name in KEYS), r)
            hits.setdefault(key, []).append(images[f"{r}:{metric}"])
    top1 = {key: 100 * pd.concat(parts, axis=1).mean(axis=1) for key, parts in hits.items()}
    plain = {
        (task, r): found for (task, p_model, *_, r), found in top1.items() if p_model == "plain"
    }
    rows = []
    for key, found in top1.items():
        baseline = plain.get((key[0], key[-1]))
        if key[3] != NO_RECOGNIZER and baseline is not None:
            gain = mean(found - baseline)
            rows.append(dict(zip([*KEYS, "evaluation_r"], key, strict=True)) | gain)
    if not rows:
        raise UserError(
            "--evaluations: no recognition-aware and plain processor of one task and recognizer"
        )
    return pd.DataFrame(rows).rename(columns={"value": "gain"})


def similarity_and_gain(pairs: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """One row per KEYS and evaluation recognizer other than the training one: AXES and the gain.

    ``distance_rho`` is the mean of the coefficients along the shared directions.
    """
    wide = pairs.pivot_table(index=[*KEYS, "r_a", "r_b"], columns="measure", values="value")
    wide = wide.reindex(columns=sorted(pairs.measure.unique())).reset_index()
    along = [name for name in wide.columns if name.startswith("distance_rho_")]
    wide["distance_rho"] = wide[along].mean(axis=1)
    # A pair is stored once; either of the two may be the training recognizer.
    mine = wide[(wide.r_a == wide.training_r) | (wide.r_b == wide.training_r)]
    mine = mine.assign(evaluation_r=mine.r_a.where(mine.r_a != mine.training_r, mine.r_b))
    columns = [*KEYS, "evaluation_r", *AXES, *along]
    return mine[columns].merge(gains, on=[*KEYS, "evaluation_r"], how="inner")


def correlations(table: pd.DataFrame, rounds: int = 5040) -> pd.DataFrame:
    """Rank correlation of each similarity with the gain.

    Both are ranked within their task, so that the difficulty of a task does not pretend a
    relation; and once more within their task and training recognizer, so that neither do training
    recognizers that help all others more. p is from permutations of the recognizers, see
    ``relabelled``; p_holm is adjusted for all tests of the table. A task alone has no test.

    Returns:
        Columns similarity, ranked_within, n, spearman, p, p_holm; NaN where the ranks of either do
        not differ.
    """
    rows = []
    for measure in AXES:
        known = table.dropna(subset=[measure, "gain"])
        orders = relabelled(known, rounds)
        for within, keys in RANKED.items():
            ranks = known.groupby(keys)[[measure, "gain"]].rank()
            ranks -= ranks.groupby([known[key] for key in keys]).transform("mean")
            a, b = ranks.to_numpy().T
            rho, p = permuted_correlation(a, b, orders)
            rows.append([measure, within, len(known), rho, p])
        for task, part in known.groupby("task", sort=False):
            rho = rank_coefficient(part[measure], part.gain)
            rows.append([measure, f"{task} alone", len(part), rho, np.nan])
    found = pd.DataFrame(rows, columns=["similarity", "ranked_within", "n", "spearman", "p"])
    tested = found.p.notna()
    found.loc[tested, "p_holm"] = holm(found.p[tested])
    return found


def relabelled(table: pd.DataFrame, rounds: int, seed: int = 0) -> np.ndarray:
    """Rows of ``table`` under permutations of the recognizers, (permutations, rows).

    Pairs that share a recognizer are not independent, so the pairs themselves must not be permuted
    (quadratic assignment procedure: Hubert & Schultz, Brit. J. Math. Stat. Psych. 1976). Row i
    becomes the row of the same task whose two recognizers are the permuted ones of row i.
    Training recognizers change places among themselves, as do those that only evaluate: so every
    pair remains a pair of the table; a permutation that leads to a missing pair is left out. All
    permutations are taken if they are at most ``rounds``, else so many random ones. The first is
    the table as it is.
    """
    training = sorted(set(table.training_r))
    others = sorted(set(table.evaluation_r) - set(training))
    if factorial(len(training)) * factorial(len(others)) <= rounds:
        both: Iterable[Iterable] = product(permutations(training), permutations(others))
    else:
        draw = np.random.default_rng(seed)
        drawn = ((draw.permutation(training), draw.permutation(others)) for _ in range(rounds))
        both = chain([(training, others)], drawn)
    cells = list(table[[*KEYS, "evaluation_r"]].itertuples(index=False, name=None))
    place = {cell: row for row, cell in enumerate(cells)}
    orders = []
    for order in both:
        new = dict(zip([*training, *others], chain(*order), strict=True))
        rows = [place.get((*cell[:3], new[cell[3]], new[cell[4]])) for cell in cells]
        if None not in rows:
            orders.append(rows)
    return np.array(orders, int).reshape(-1, len(cells))


def write_transfer(o: BoundariesTable) -> None:
    """Write transfer.csv, correlation.csv, boundaries.md and scatter.png."""
    try:
        similar = pd.concat([pd.read_csv(path, dtype={"training_r": str}) for path in o.pairs])
    except (OSError, ValueError) as error:
        raise UserError(f"--pairs: cannot be read ({error})") from None
    table = similarity_and_gain(similar, transfer_gains(o.evaluations))
    if table.empty:
        raise UserError("--pairs and --evaluations: no pair of recognizers is in both")
    related = correlations(table)
    write_csv(o.save_dir / "transfer.csv", table, float_format="%.4f")
    write_csv(o.save_dir / "correlation.csv", related, float_format="%.4f")
    readable = table[["task", "training_r", "evaluation_r", *AXES]].copy()
    for column in ("training_r", "evaluation_r"):
        readable[column] = readable[column].map(recognizer_title)
    readable["gain (points, 95 %)"] = shown(table, "gain", sign="+")
    readable["n"] = table.n
    tests = related.assign(p=shown_p(related), p_holm=shown_p(related, "p_holm"))
    parts = [f.to_markdown(index=False, floatfmt=".3f") for f in (readable, tests)]
    write_text(o.save_dir / "boundaries.md", "\n\n".join(parts) + "\n")
    write_scatter(o.save_dir / "scatter.png", table)


def write_scatter(path: Path, table: pd.DataFrame) -> None:
    """PNG: a panel per similarity, the gain over it, a colour per task, a mark per recognizer."""
    from matplotlib.lines import Line2D

    colours = {task: f"C{number}" for number, task in enumerate(table.task.unique())}
    marks = dict(zip(table.evaluation_r.unique(), cycle("osD^vP*X<>"), strict=False))
    figure, drawn = panels(len(AXES), width=4, height=4)
    for axes, (measure, title) in zip(drawn, AXES.items(), strict=True):
        for (task, r), rows in table.groupby(["task", "evaluation_r"], sort=False):
            spread = [rows.gain - rows.low, rows.high - rows.gain]
            look = {"fmt": marks[r], "color": colours[task], "capsize": 2}
            axes.errorbar(rows[measure], rows.gain, spread, **look)
        axes.axhline(0, color="grey", linewidth=0.6)
        axes.set_xlabel(title)
    drawn[0].set_ylabel("gain over plain, top-1 (points)")
    handles = [Line2D([], [], color=colour, label=task) for task, colour in colours.items()]
    black: dict[str, Any] = {"color": "black", "linestyle": ""}
    handles += [
        Line2D([], [], marker=m, label=f"{r} classifies", **black) for r, m in marks.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    save(figure, path)
