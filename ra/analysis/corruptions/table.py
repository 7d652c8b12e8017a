"""Errors on a corrupted set, and mean corruption errors.

Source: Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, ICLR 2019, section 3: CE of a corruption is the error summed over severities, divided
by the same sum of a reference classifier; mCE is the mean of CE over corruptions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ra.analysis.command_settings import Corruptions
from ra.analysis.scores import shown, shown_p
from ra.errors import UserError
from ra.evaluation.statistics import accuracy, holm, jackknife, over_seeds
from ra.files import write_csv, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import NO_PROCESSING, PLAIN, model_names, recognizer_title, task_title
from ra.reporting.plots import panels, save
from ra.reporting.significance import read_answers, read_identity, recognizers_in

GROUPS = 50  # of images, each of which is left out once; a clean image and all its copies are one
MODEL = ["task", "p_model", "lambda", "training_r", "evaluation_r"]
CELL = [*MODEL, "corruption", "severity"]


def write_corruptions(o: Corruptions) -> None:
    """Write corruptions.csv (errors), mce.csv (CE and mCE), corruptions.md and .png."""
    cells = read_cells(o.evaluations)
    table = mean_corruption_errors(cells, o.relative_to)
    errors = _over_seeds(cells)
    write_csv(o.save_dir / "corruptions.csv", errors)
    write_csv(o.save_dir / "mce.csv", table)
    write_text(o.save_dir / "corruptions.md", _readable(errors, table, o.relative_to))
    _draw(errors, table, o.save_dir / "corruptions.png")


def read_cells(evaluations: Sequence[Path]) -> pd.DataFrame:
    """One row per processor, seed, evaluation recognizer, corruption and severity.

    Returns:
        ``CELL``, seed; error (%), low, high (Wilson) and n; left: the errors without each group of
        images, as an array. Paths of images are CORRUPTION/SEVERITY/CLASS/FILE.
    """
    rows: list[dict[str, object]] = []
    groups: dict[str, int] = {}  # clean image -> group
    for path in evaluations:
        identity, images = read_identity(path), read_answers(path)
        parts = images.path.str.split("/", n=2, expand=True)
        if parts.shape[1] < 3 or parts[2].isna().any():
            raise UserError(f"{path}: its images do not lie in CORRUPTION/SEVERITY/CLASS/")
        number = [groups.setdefault(name, len(groups) % GROUPS) for name in parts[2]]
        for (corruption, severity), here in images.groupby([parts[0], parts[1]]):
            group = np.array(number)[here.index]
            for r, metric in recognizers_in(here).items():
                hits = here[f"{r}:{metric}"]
                found = accuracy(hits)
                row = {**identity, "evaluation_r": r, "corruption": corruption}
                row |= {"severity": severity, "error": 100 - found["value"], "n": found["n"]}
                row |= {"low": 100 - found["high"], "high": 100 - found["low"]}
                rows.append(row | {"left": _without_groups(1 - hits.to_numpy(), group)})
    used = min(GROUPS, len(groups))
    cells = pd.DataFrame(rows)
    return cells.assign(left=[left[:used] for left in cells.left])


def _without_groups(errors: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Percentage of errors (0 or 1) among the images of all groups but each one, (GROUPS,)."""
    wrong, count = (np.bincount(group, w, GROUPS) for w in (errors, np.ones(len(errors))))
    rest = count.sum() - count
    return np.divide(100 * (wrong.sum() - wrong), rest, np.full(GROUPS, np.nan), where=rest > 0)


def mean_corruption_errors(cells: pd.DataFrame, relative_to: str) -> pd.DataFrame:
    """CE and mCE (%) of each processor, relative to ``relative_to`` without processing.

    Returns:
        ``MODEL``, seeds; mce with mce_low and mce_high; difference to the plain processor of the
        task with low, high, p and p_holm (below zero is better); a column of CE per corruption. The
        intervals are jackknifed over clean images, or Student's over seeds where there are several.
    """
    corruptions = sorted(cells.corruption.unique())
    seeds = {
        key: _relative(own, cells, relative_to) for key, own in cells.groupby([*MODEL, "seed"])
    }
    rows = []
    for key, _ in cells.groupby(MODEL, sort=False):
        ours = {s: seeds[*key, s] for *model, s in seeds if tuple(model) == key}
        row = dict(zip(MODEL, key, strict=True)) | {"seeds": len(ours)}
        row |= _interval([one.mean(axis=0) for one in ours.values()], "mce")
        plain = key[0], PLAIN, 0.0, NO_RECOGNIZER, key[4]
        pairs = [(one, seeds[*plain, s]) for s, one in ours.items() if (*plain, s) in seeds]
        if pairs and key != plain and key[1] != NO_PROCESSING:
            row |= _interval([(a - b).mean(axis=0) for a, b in pairs], "difference")
        each = np.mean([one[:, 0] for one in ours.values()], axis=0)
        rows.append(row | dict(zip(corruptions, each, strict=True)))
    named = [f"{name}{end}" for name in ("mce", "difference") for end in ("", "_low", "_high")]
    table = pd.DataFrame(rows).reindex(columns=[*MODEL, "seeds", *named, "p", *corruptions])
    return table.assign(p_holm=holm(table.p))


def _relative(own: pd.DataFrame, cells: pd.DataFrame, relative_to: str) -> np.ndarray:
    """CE (%) of one processor and recognizer, (corruptions, 1 + groups).

    The first column is of all images, the others are of those without one group.
    """
    task = own.task.iloc[0]
    none = (cells.p_model == NO_PROCESSING) & (cells.task == task)
    reference = cells[none & (cells.evaluation_r == relative_to)]
    if reference.empty:
        raise UserError(
            f"--relative-to: no evaluation of {task} without processing by {relative_to}; give one"
        )
    ours, theirs = _sums(own), _sums(reference)
    if list(ours) != list(theirs):
        words = " ".join(str(own[name].iloc[0]) for name in MODEL)
        missing = ", ".join("/".join(key) for key in sorted(set(theirs) ^ set(ours)))
        raise UserError(f"--evaluations: {words} and no processing differ in {missing}; give both")
    kinds = sorted({corruption for corruption, _ in ours})
    own_sum, other_sum = (
        np.array([sum(v for (c, _), v in sums.items() if c == kind) for kind in kinds])
        for sums in (ours, theirs)
    )
    # A reference without errors leaves no CE.
    return np.divide(100 * own_sum, other_sum, np.full(own_sum.shape, np.nan), where=other_sum > 0)


def _sums(rows: pd.DataFrame) -> Mapping[tuple[str, str], np.ndarray]:
    """(corruption, severity) -> error of all images, then without each group."""
    rows = rows.sort_values(["corruption", "severity"])
    values = zip(rows.corruption, rows.severity, rows.error, rows.left, strict=True)
    return {(c, s): np.concatenate([[error], left]) for c, s, error, left in values}


def _interval(values: Sequence[np.ndarray], name: str) -> dict[str, float]:
    """Value, interval and p: over seeds where there are several, else by the jackknife."""
    if len(values) > 1:
        found = over_seeds([one[0] for one in values])
        found["value"] = found["difference"]
    elif values[0].shape[0] > 2:
        found = jackknife(values[0])
    else:
        found = {"value": float(values[0][0]), "low": np.nan, "high": np.nan, "p": np.nan}
    row = {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
    return row | ({"p": found["p"]} if name == "difference" else {})


def _over_seeds(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells without seeds and groups; of several seeds the mean and its interval."""
    rows = []
    for _, group in cells.groupby(CELL, sort=False):
        row = group.iloc[0].drop(["dataset", "seed", "left"]).to_dict() | {"seeds": len(group)}
        if len(group) > 1:
            found = over_seeds(group.error.tolist())
            row |= {"error": found["difference"], "low": found["low"], "high": found["high"]}
        rows.append(row)
    return pd.DataFrame(rows)[[*CELL, "seeds", "error", "low", "high", "n"]]


def _titles(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        Task=table.task.map(task_title),
        Model=model_names(table),
        R=table.evaluation_r.map(recognizer_title),
    ).rename(columns={"Model": "P Model"})


def _readable(errors: pd.DataFrame, table: pd.DataFrame, relative_to: str) -> str:
    """Markdown: mCE of each processor and recognizer; the mean error, corruption x severity."""
    mce = _titles(table)
    columns = {
        "mCE, % [95 %]": shown(mce, "mce"),
        "over plain [95 %]": shown(mce, "difference", sign="+"),
        "p": shown_p(mce),
        "p (Holm)": shown_p(mce, "p_holm"),
    }
    first = mce[["Task", "P Model", "R"]].assign(**columns)
    keys = ["Task", "P Model", "corruption"]
    mean = _titles(errors).pivot_table("error", keys, "severity", "mean", sort=False)
    mean = mean[sorted(mean)].add_prefix("severity ").assign(mean=mean.mean(axis=1))
    parts = [
        "Mean corruption error in percent of the errors of "
        f"{recognizer_title(relative_to)} without processing; lower is better.",
        first.to_markdown(index=False),
        "Top-1 error in percent, mean of all recognizers.",
        mean.reset_index().to_markdown(index=False, floatfmt=".1f"),
    ]
    return "\n\n".join(parts) + "\n"


def _draw(errors: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    """A row per task: error over severity, and CE by corruption; means of all recognizers."""
    errors, table = _titles(errors), _titles(table)
    corruptions = sorted(errors.corruption.unique())
    tasks = list(errors.Task.unique())
    width = max(4.5, 0.45 * len(corruptions))
    figure, drawn = panels(2, width=width, height=3.6, rows=len(tasks))
    for task, left, right in zip(tasks, drawn[::2], drawn[1::2], strict=True):
        rows, relative = errors[errors.Task == task], table[table.Task == task]
        for name, own in rows.groupby("P Model", sort=False):
            left.plot(own.groupby("severity").error.mean(), "o-", ms=4, label=name)
            each = relative[relative["P Model"] == name][corruptions].mean()
            right.plot(corruptions, each, "o", ms=5)
        left.set(title=task, xlabel="severity", ylabel="top-1 error, %")
        right.set(ylabel="corruption error, %")
        right.tick_params("x", rotation=60)
    drawn[0].legend(fontsize=7)
    save(figure, path)
