"""Gains over plain processing and over none: with their tests, and as a verdict on each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.errors import UserError
from ra.evaluation.statistics import LEVEL, POOLED, jackknifed, mean, over_seeds
from ra.reporting import names
from ra.reporting.names import NO_PROCESSING, PLAIN, UNTRAINED
from ra.reporting.significance import ALL_SEEDS, read_answers, recognizers_in

KEYS = ["task", "model", "recognizer"]
TESTS = ["low", "high", "p_holm"]


def read_significance(path: Path | None, means: bool = True) -> pd.DataFrame:
    """The tests against plain, one row per (task, model, recognizer) with low, high, p_holm; of
    several seeds their mean, or without ``means`` those of each seed."""
    if path is None:
        return pd.DataFrame(columns=[*KEYS, *TESTS])
    try:
        empty = {name: [""] for name in (*TESTS, "p_holm_folder")}
        table = pd.read_csv(path, dtype={"seed": str}, keep_default_na=False, na_values=empty)
        chosen = (table.seed == ALL_SEEDS) == means
        table = table[chosen] if chosen.any() else table
        titles = table.evaluation_r.map(names.recognizer_title)
        table = table.assign(model=names.model_names(table), recognizer=titles)
        return table[[*KEYS, *TESTS, *(["p_holm_folder"] if "p_holm_folder" in table else [])]]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as significance.csv ({error})") from None


def notes(significance: Path | None) -> list[tuple[str, int, int]]:
    """Over images and over folders: how many differences are significant in every seed, of all."""
    table = read_significance(significance, means=False)
    found = []
    for column, over in (("p_holm", "images"), ("p_holm_folder", "folders")):
        if column in table and len(table):
            worst = table.groupby(KEYS)[column].max(skipna=False)
            found.append((over, int((worst < LEVEL).sum()), len(worst)))
    return found


def gain_table(
    tables: Mapping[str, pd.DataFrame], tests: pd.DataFrame, trained: Mapping[tuple, list[str]]
) -> pd.DataFrame:
    """Points of every row of ``tables`` over plain by recognizer; interval and p where tested.

    ``met`` says that the recognizer trained the processor.
    """
    plain = names.p_model_title(PLAIN)
    rows = [
        (task, name, r, value, r in trained[task, name])
        for task, table in tables.items()
        if plain in table.index
        for name, points in (table.drop(plain) - table.loc[plain]).iterrows()
        for r, value in points.items()
    ]
    gains = pd.DataFrame(rows, columns=[*KEYS, "difference", "met"])
    return gains.merge(tests[[*KEYS, *TESTS]], on=KEYS, how="left")


def verdict(
    task: str,
    table: pd.DataFrame,
    tidy: pd.DataFrame,
    runs: pd.DataFrame,
    trained: Mapping[tuple, list[str]],
    psnr: Sequence[pd.Series],
) -> dict[str, object] | None:
    """Gains of the recognition-aware processor over plain and over no processing, as the mean of
    the recognizers that took no part in its training; the worse of the two first."""
    plain, *_ = references = [names.p_model_title(name) for name in (PLAIN, NO_PROCESSING)]
    without = [plain, *UNTRAINED.values()]
    model = next((name for name in table.index if name not in without), None)
    references = [name for name in references if name in table.index]
    if model is None or not references:
        return None
    met = trained[task, model]
    unseen = [r for r in table if r not in met] or list(table)
    rows = tidy[(tidy.task == task) & tidy.metric.isin(names.HEADLINES)]
    rows = rows[rows.evaluation_r.map(names.recognizer_title).isin(unseen)]
    scores = rows.groupby(["model", "seed"]).value.mean()
    own = runs[runs.task == task].drop_duplicates("model").set_index("model").path
    gains = []
    for name in references:
        theirs = scores[name]
        seeds = (scores[model] - (theirs if len(theirs) > 1 else theirs.iloc[0])).dropna()
        several = over_seeds(seeds.tolist()) if len(seeds) > 1 else {}
        gain = several or _over_images(own[model], own[name], unseen)
        known = [r for r in table if r in met]
        more = {"over": name, "difference": seeds.mean()}
        more["met"] = (table.loc[model, known] - table.loc[name, known]).mean() if known else None
        gains.append({**gain, **more})
    gains.sort(key=lambda gain: gain["difference"])
    worst, key = gains[0], (names.task_title(task), model)
    word = "Worse than" if worst["high"] < 0 else "No clear gain over"
    word = "Not tested against" if np.isnan(worst["low"]) else word
    word = f"{word} {worst['over'].lower()}"
    if worst["low"] > 0:
        word = "Better than " + " and ".join(name.lower() for name in references)
    return {
        "task": key[0],
        "model": model,
        "word": word,
        "gains": gains,
        "met": "" if len(unseen) == len(table) else " and ".join(met),
        "psnr": psnr[0][key] - psnr[0][key[0], plain] if psnr and plain in table.index else None,
    }


def _over_images(ours: Path, theirs: Path, recognizers: Sequence[str]) -> dict[str, float]:
    """Interval of the difference of two means over ``recognizers``, from the answers to each image;
    NaN where a file has not all of them."""
    if not all(path.with_name("images.csv").exists() for path in (ours, theirs)):
        return {"low": np.nan, "high": np.nan}
    shares = []
    for answers in map(read_answers, (ours, theirs)):
        measured = recognizers_in(answers).items()
        chosen = [r for r in measured if names.recognizer_title(r[0]) in recognizers]
        shares.append(answers[[":".join(one) for one in chosen]].mean(axis=1, skipna=False))
    pooled = any(metric in POOLED for _, metric in chosen)
    gains = shares[0] - shares[1]
    return jackknifed(gains) if pooled else mean(100 * gains)


def plane_table(
    table: pd.DataFrame,
    limits: tuple[pd.DataFrame, pd.DataFrame],
    task: str,
    psnr: Sequence[pd.Series],
    trained: Mapping[tuple, list[str]],
) -> pd.DataFrame:
    """Of each row PSNR (x), the mean of the recognizers that trained none (y), and intervals."""
    met = {r for (own, _), some in trained.items() if own == task for r in some}
    unseen = [r for r in table if r not in met] or list(table)
    values = {"y": table, "y_low": limits[0], "y_high": limits[1]}
    spots = pd.DataFrame({name: one[unseen].mean(axis=1) for name, one in values.items()})
    for name, one in zip(("x", "x_low", "x_high"), psnr, strict=True):
        spots[name] = [one.get((names.task_title(task), model), np.nan) for model in table.index]
    return spots
