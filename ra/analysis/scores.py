"""Accuracy, image quality and the difference to a baseline, from stored answers to each image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.errors import UserError
from ra.evaluation.quality import MEASURES
from ra.evaluation.statistics import holm, mean, over_seeds, share
from ra.files import write_csv
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import CLEAN, HEADLINES, PLAIN, UNTRAINED
from ra.reporting.names import measured as measured_by
from ra.reporting.significance import compare_answers, read_answers, read_identity, recognizers_in
from ra.reporting.tables import with_interval, write_markdown

# What identifies the outputs of a processor, beside its seed: task, p_model and so on -> value.
Labels = dict[str, object]
Scored = tuple[Labels, pd.DataFrame]
OTHERS = "mean of others"


def load(evaluations: Sequence[Path], **labels: object) -> list[Scored]:
    """(identity and ``labels``, answers) of each ``evaluation.csv``.

    Clean images belong to no task, and what nothing trained to no seed: they are repeated for each,
    as the ceiling of its rows and to be compared with its plain processor.
    """
    found = [({**read_identity(path), **labels}, read_answers(path)) for path in evaluations]
    tasks = dict.fromkeys(one["task"] for one, _ in found if one["p_model"] != CLEAN)
    seeds = dict.fromkeys(one["seed"] for one, _ in found if one["p_model"] not in UNTRAINED)
    return [
        ({**one, "task": task, "seed": seed}, images)
        for task in tasks
        for one, images in found
        if one["p_model"] == CLEAN or one["task"] == task
        for seed in (seeds if seeds and one["p_model"] in UNTRAINED else [one["seed"]])
    ]


def plain_of(labels: Labels) -> Labels:
    """The labels of the plain processor that stands beside the one with ``labels``."""
    return {**labels, "p_model": PLAIN, "lambda": 0.0, "training_r": NO_RECOGNIZER}


def score(
    evaluated: Sequence[Scored],
    baseline: Callable[[Labels], Labels | None] = plain_of,
    training_r: str | None = None,
) -> pd.DataFrame:
    """One row per processor and evaluation recognizer, seeds averaged.

    Args:
        evaluated: from ``load``.
        baseline: labels -> labels of the processor to compare with; one that is not there, or the
            processor itself, leaves the difference empty.
        training_r: adds a row per processor for the mean of all recognizers but this one.

    Returns:
        The labels without seed, evaluation_r, measure (top-1, agreement, mAP@0.5, mIoU), seeds, n
        (images); score (%), each measure of image quality (psnr, ssim) and difference (percentage
        points of score above the baseline), with NAME_low and NAME_high, the 95 % interval: over
        images where there is one seed (Wilson, normal, Tango), else Student's over seeds, which
        what nothing trained has in its difference only; p of McNemar's exact test, or of a t test
        over seeds; p_holm, adjusted for all tests of the table. The mean of several recognizers is
        no hit or miss: its difference has a normal interval and no p.
    """
    known: dict[tuple, pd.DataFrame] = {}
    for labels, images in evaluated:
        twice = recognizers_in(known.get(_key(labels), pd.DataFrame())).keys()
        if twice & recognizers_in(images).keys():
            raise UserError(f"--evaluations: two results for {_words(labels)}; give one of them")
        known[_key(labels)] = images
    rows = []
    for labels, images in evaluated:
        reference = baseline(labels)
        theirs = None if reference in (None, labels) else known.get(_key(reference))
        rows += _rows(labels, images, theirs, training_r)
    table = _average(pd.DataFrame(rows))
    return table.assign(p_holm=holm(table.p))


def _key(labels: Labels) -> tuple:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _words(labels: Labels) -> str:
    return " ".join(str(value) for value in labels.values())


def _rows(labels, images, theirs, training_r) -> list[dict[str, object]]:
    shared: dict[str, float] = {"n": len(images)}
    for name in (m for m in MEASURES if m in images and MEASURES.get(m).in_tables):
        shared |= _named(name, MEASURES.get(name).average(images[name]))
    compared = {} if theirs is None else compare_answers(images, theirs, _words(labels))
    rows = []
    measured = recognizers_in(images)
    for r, metric in measured.items():
        what = {"evaluation_r": r, "measure": HEADLINES[metric]}
        rows.append({**what, **_named("score", share(images[f"{r}:{metric}"], metric))})
        if r in compared:
            rows[-1] |= _named("difference", compared[r])
    others = [f"{r}:{metric}" for r, metric in measured.items() if r != training_r]
    if training_r and others:
        shares = 100 * images[others].mean(axis=1)
        what = {"evaluation_r": OTHERS, "measure": measured_by(measured.values())}
        rows.append({**what, **_named("score", mean(shares))})
        if theirs is not None:
            gain = mean(shares - 100 * theirs[others].mean(axis=1))
            rows[-1] |= _named("difference", gain)
    return [{**labels, **row, **shared} for row in rows]


def _named(name: str, found: dict[str, float]) -> dict[str, float]:
    """The columns NAME, NAME_low, NAME_high and p of a statistic, so far as it has them."""
    columns = {"value": name, "difference": name, "low": f"{name}_low", "high": f"{name}_high"}
    return {column: found[key] for key, column in (columns | {"p": "p"}).items() if key in found}


def _average(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that differ in their seed alone become one."""
    names = ["score", *quality_in(rows), "difference"]
    measured = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    labels = [name for name in rows.columns if name not in (*measured, "seed", "p")]
    rows = rows.reindex(columns=[*labels, "seed", *measured, "p"])
    averaged = []
    for _, group in rows.groupby(labels, sort=False, dropna=False):
        row = group.iloc[0].drop("seed").to_dict() | {"seeds": len(group)}
        if len(group) > 1:
            # The last one is the difference, and so its p stays.
            for name in names[-1:] if row["p_model"] in UNTRAINED else names:
                row |= _named(name, over_seeds(group[name].tolist()))
        if row["p_model"] == CLEAN:
            row["p"] = np.nan  # a ceiling is no hypothesis
        averaged.append(row)
    return pd.DataFrame(averaged)[[*labels, "seeds", *measured, "p"]]


def quality_in(table: pd.DataFrame) -> list[str]:
    """The measures of image quality that a table of scores has."""
    return [name for name in MEASURES if f"{name}_low" in table]


def shown_quality(table: pd.DataFrame, name: str, intervals: bool = True) -> pd.Series:
    """A measure of image quality as text, by default with its interval."""
    decimals = 2 if MEASURES.get(name).unit == "dB" else 3
    if intervals:
        return shown(table, name, decimals)
    return table[name].map(f"{{:.{decimals}f}}".format).where(table[name].notna(), "")


def limits(table: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """The columns NAME_low and NAME_high, or low and high, of an interval."""
    prefix = f"{name}_" if f"{name}_low" in table else ""
    return table[f"{prefix}low"], table[f"{prefix}high"]


def spread(table: pd.DataFrame, name: str) -> np.ndarray:
    """Lengths of an interval below and above its value, (2, rows), as plots take them."""
    low, high = limits(table, name)
    return np.array([table[name] - low, high - table[name]])


def shown(table: pd.DataFrame, name: str, decimals: int = 1, sign: str = "") -> pd.Series:
    """``value [low, high]`` as text; empty where there is no value."""
    numbers = zip(table[name], *limits(table, name), strict=True)
    texts = [with_interval(*row, f"{sign}.{decimals}f") for row in numbers]
    return pd.Series(texts, index=table.index, dtype=object).where(table[name].notna(), "")


def shown_p(table: pd.DataFrame, name: str = "p") -> pd.Series:
    """p with two digits as text; empty where there is none."""
    return table[name].map(lambda p: "" if pd.isna(p) else f"{p:.2g}")


def shown_scores(table: pd.DataFrame) -> dict[str, pd.Series]:
    """The score, its difference to plain and the tests, as columns for people."""
    return {
        f"{', '.join(table.measure.unique())}, % [95 %]": shown(table, "score"),
        "over plain [95 %]": shown(table, "difference", sign="+"),
        "p": shown_p(table),
        "p (Holm)": shown_p(table, "p_holm"),
        "n": table.n,
    }


def write_scores(table: pd.DataFrame, readable: pd.DataFrame, path: Path) -> None:
    """CSV with every digit at ``path``, the readable table beside it as Markdown."""
    write_csv(path, table)
    write_markdown(readable, path.with_suffix(".md"))
