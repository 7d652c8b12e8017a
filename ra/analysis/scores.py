"""Accuracy, image quality and the difference to a baseline, from stored answers to each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.evaluation.statistics import accuracy, holm, mean, over_seeds
from ra.files import write_csv
from ra.registry import NO_RECOGNIZER
from ra.reporting.significance import compare_answers, read_answers, read_identity, recognizers_in
from ra.reporting.tables import write_markdown

# What one P is, beside its seed: labels of a row (task, p_model, ...) -> value.
Labels = dict[str, object]
Judged = tuple[Labels, pd.DataFrame]
OTHERS = "mean of others"
QUALITY = ("psnr", "ssim")
MEASURED = ("top1", *QUALITY, "difference")


def load(evaluations: Sequence[Path], **labels: object) -> list[Judged]:
    """(identity and ``labels``, answers) of each ``evaluation.csv``."""
    return [({**read_identity(path), **labels}, read_answers(path)) for path in evaluations]


def plain_of(labels: Labels) -> Labels:
    """The labels of the plain P that stands beside the one with ``labels``."""
    return {**labels, "p_model": "plain", "lambda": 0.0, "training_r": NO_RECOGNIZER}


def score(
    judged: Sequence[Judged],
    baseline: Callable[[Labels], Labels | None] = plain_of,
    training_r: str | None = None,
) -> pd.DataFrame:
    """One row per P and evaluation R, seeds averaged.

    Args:
        judged: P's with their answers.
        baseline: labels -> labels of the P to compare with; one that is not there, or the P
            itself, leaves the difference empty.
        training_r: adds a row per P for the mean of all R's but this one.

    Returns:
        The labels without seed, evaluation_r, seeds, n (images); top1 (%), psnr (dB), ssim and
        difference (percentage points of top-1 above the baseline), each with NAME_low and
        NAME_high, the 95 % interval: over images where there is one seed (Wilson, normal,
        bootstrap), else Student's over seeds; p of McNemar's exact test, of a t test over seeds;
        p_holm, adjusted for all tests of the table.
        A mean of several R's is no hit or miss: its difference is normal, its p empty.
    """
    known = {_key(labels): images for labels, images in judged}
    rows = []
    for labels, images in judged:
        reference = baseline(labels)
        theirs = None if reference in (None, labels) else known.get(_key(reference))
        rows += _rows(labels, images, theirs, training_r)
    table = _average(pd.DataFrame(rows))
    return table.assign(p_holm=holm(table.p))


def _key(labels: Labels) -> tuple:
    return tuple(sorted((name, str(value)) for name, value in labels.items()))


def _rows(labels, images, theirs, training_r) -> list[dict[str, object]]:
    shared = {key: v for q in QUALITY for key, v in _interval(q, mean(images[q])).items()}
    differences = {}
    if theirs is not None:
        what = " ".join(str(value) for value in labels.values())
        compared = compare_answers(images, theirs, what)
        differences = compared.set_index("evaluation_r").to_dict("index")
    rows = []
    for r in recognizers_in(images):
        row = {"evaluation_r": r, "n": len(images), **_interval("top1", accuracy(images[_top1(r)]))}
        rows.append(row | _difference(differences.get(r)))
    others = [r for r in recognizers_in(images) if r != training_r]
    if training_r and others:
        rows.append(_mean_of(others, images, theirs))
    return [{**labels, **row, **shared} for row in rows]


def _top1(r: str) -> str:
    return f"{r}:top1"


def _mean_of(recognizers: list[str], images: pd.DataFrame, theirs: pd.DataFrame | None):
    """The row of several R's: of each image the share of them that read it."""
    columns = [_top1(r) for r in recognizers]
    shares = 100 * images[columns].mean(axis=1)
    row = {"evaluation_r": OTHERS, "n": len(images), **_interval("top1", mean(shares))}
    if theirs is None:
        return row | _difference(None)
    gained = mean(shares - 100 * theirs[columns].mean(axis=1))
    gained["difference"] = gained.pop("value")
    return row | _difference({**gained, "p": float("nan")})


def _interval(name: str, found: dict[str, float]) -> dict[str, float]:
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def _difference(found: dict[str, float] | None) -> dict[str, float]:
    empty = dict.fromkeys(("difference", "low", "high", "p"), float("nan"))
    found = found or empty
    ends = {"": "difference", "_low": "low", "_high": "high"}
    return {f"difference{end}": found[key] for end, key in ends.items()} | {"p": found["p"]}


def _average(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that differ in their seed alone become one."""
    measured = [f"{name}{end}" for name in MEASURED for end in ("", "_low", "_high")]
    labels = [name for name in rows.columns if name not in (*measured, "seed", "p")]
    averaged = []
    for _, group in rows.groupby(labels, sort=False, dropna=False):
        row = group.iloc[0].drop("seed").to_dict() | {"seeds": len(group)}
        if len(group) > 1:
            for name in MEASURED:
                found = over_seeds(group[name].tolist())
                ends = {"": "difference", "_low": "low", "_high": "high"}
                row |= {f"{name}{end}": found[key] for end, key in ends.items()}
            row["p"] = found["p"]  # the last one measured is the difference
        averaged.append(row)
    return pd.DataFrame(averaged)[[*labels, "seeds", *measured, "p"]]


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
    style = f"{sign}.{decimals}f"
    numbers = zip(table[name], *limits(table, name), strict=True)
    texts = [f"{v:{style}} [{low:{style}}, {high:{style}}]" for v, low, high in numbers]
    return pd.Series(texts, index=table.index, dtype=object).where(table[name].notna(), "")


def shown_p(table: pd.DataFrame, name: str = "p") -> pd.Series:
    """p with two digits as text; empty where there is none."""
    return table[name].map(lambda p: "" if pd.isna(p) else f"{p:.2g}")


def shown_scores(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Accuracy, its difference to plain and the tests, as columns for people."""
    return {
        "top-1, % [95 %]": shown(table, "top1"),
        "over plain [95 %]": shown(table, "difference", sign="+"),
        "p": shown_p(table),
        "p (Holm)": shown_p(table, "p_holm"),
        "n": table.n,
    }


def write_scores(table: pd.DataFrame, readable: pd.DataFrame, path: Path) -> None:
    """CSV with every digit at ``path``, the readable table beside it as Markdown."""
    write_csv(path, table)
    write_markdown(readable, path.with_suffix(".md"))
