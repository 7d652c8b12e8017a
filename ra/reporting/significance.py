"""Each difference to plain processing with its test, from the stored answers to each image."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from ra.errors import UserError
from ra.evaluation.statistics import POOLED, compare_clusters, difference, holm, over_seeds
from ra.files import write_csv, write_text
from ra.reporting import names
from ra.reporting.names import PLAIN, UNTRAINED
from ra.reporting.tables import (
    IDENTITY,
    read_evaluations,
    to_latex,
    with_interval,
    write_html,
    write_markdown,
)

P_MODEL = ["task", "p_model", "lambda", "training_r"]
ALL_SEEDS = "all"
UNUSED = (
    ":prediction",
    ":top5",
    ":recognition_loss",
    ":clean",
    ":agreement5",
    ":map",
)  # the larger part of images.csv


def read_identity(evaluation: Path) -> dict[str, object]:
    """Data set, task, objective, lambda, training recognizer and seed of an ``evaluation.csv``."""
    return read_evaluations([evaluation])[IDENTITY].iloc[0].to_dict()


def read_answers(evaluation: Path) -> pd.DataFrame:
    """Path, measures and ``RECOGNIZER:METRIC`` of each image, from the images.csv beside."""
    path = evaluation.with_name("images.csv")
    try:
        return pd.read_csv(path, usecols=lambda name: not name.endswith(UNUSED))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as per-image answers ({error})") from None


def recognizers_in(images: pd.DataFrame) -> dict[str, str]:
    """The recognizers of the images, and the metric of each that tables show."""
    columns = (name.rpartition(":") for name in images.columns)
    return {r: metric for r, _, metric in columns if metric in names.HEADLINES}


def compare_answers(
    ours: pd.DataFrame, theirs: pd.DataFrame, what: str, clusters: str = "none"
) -> dict[str, dict]:
    """The result of ``difference`` for each recognizer in both.

    Args:
        clusters: ``folder`` adds that of ``compare_clusters``, with keys such as p_folder.
    """
    if list(ours["path"]) != list(theirs["path"]):
        raise UserError(f"{what}: not answers to the same images; evaluate both on one data set")
    common = {r: m for r, m in recognizers_in(ours).items() if f"{r}:{m}" in theirs}
    found = {
        r: difference(ours[f"{r}:{metric}"], theirs[f"{r}:{metric}"], metric)
        for r, metric in common.items()
    }
    if clusters == "folder":
        folders = ours["path"].str.rpartition("/")[0]
        for r, metric in common.items():
            column = f"{r}:{metric}"
            if metric in POOLED:
                continue
            more = compare_clusters(ours[column], theirs[column], folders)
            found[r] |= {f"{name}_folder": value for name, value in more.items()}
    return found


def significance(evaluations: Sequence[Path], clusters: str = "none") -> pd.DataFrame:
    """Every processor against the plain one of its task and seed, for every recognizer.

    Returns:
        Columns task, p_model, lambda, training_r, seed, evaluation_r, difference (percentage
        points of top-1), low, high, p, n (images), p_holm (adjusted over the rows of one seed);
        with ``clusters`` "folder" the same again over folders, as low_folder and so on.
        Where there are several seeds, the first rows, with seed "all", hold their mean, its t
        interval and the p of a t test over seeds.
    """
    read_evaluations(evaluations)  # refuses two results for one identity
    identities = {path: read_identity(path) for path in evaluations}
    answers = lru_cache(maxsize=2)(read_answers)  # never those of all at once
    rows = []
    for path, own in identities.items():
        what = f"{own['task']} {own['p_model']} and plain, seed {own['seed']}"
        against = {"task": own["task"], "seed": own["seed"], "p_model": PLAIN}
        named = {name: own[name] for name in (*P_MODEL, "seed")}
        for other, identity in identities.items():
            if own["p_model"] in (PLAIN, *UNTRAINED) or not against.items() <= identity.items():
                continue
            found = compare_answers(answers(path), answers(other), what, clusters)
            rows += [{**named, "evaluation_r": r, **result} for r, result in found.items()]
    columns = [*P_MODEL, "seed", "evaluation_r", "difference", "low", "high", "p", "n"]
    if clusters == "folder":
        columns += ["low_folder", "high_folder", "p_folder", "n_folder"]
    table = pd.DataFrame(rows, columns=columns)
    table = pd.concat([*_means(table), table], ignore_index=True)
    for p in [name for name in ("p", "p_folder") if name in table]:
        families = table.groupby("seed", sort=False)[p]
        table[p.replace("p", "p_holm", 1)] = families.transform(holm) if rows else None
    return table


def _means(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows over all seeds, where there are several."""
    over_folders = {name: float("nan") for name in table if name.endswith("_folder")}
    rows = [
        {
            **group.iloc[0],
            **over_folders,
            "seed": ALL_SEEDS,
            **over_seeds(group.difference.tolist()),
        }
        for _, group in table.groupby([*P_MODEL, "evaluation_r"], sort=False)
        if len(group) > 1
    ]
    return [pd.DataFrame(rows)] if rows else []


def write_significance(evaluations: Sequence[Path], out: Path, clusters: str = "none") -> None:
    """significance.csv with every digit; significance.md, .html and .tex rounded."""
    table = significance(evaluations, clusters)
    write_csv(out / "significance.csv", table)
    rounded = readable(table, names.measured(read_evaluations(evaluations).metric))
    write_markdown(rounded, out / "significance.md")
    write_html(rounded, out / "significance.html")
    latex = to_latex(rounded.set_index(["Task", "P Model"]), decimals=1, bold=False)
    write_text(out / "significance.tex", latex)


def readable(table: pd.DataFrame, measure: str = "top-1") -> pd.DataFrame:
    """The rows of ``significance`` with titles, and numbers rounded as text."""
    seeds = {"Seed": table.seed} if table.seed.nunique() > 1 else {}
    numbers = zip(table.difference, table.low, table.high, strict=True)
    shown = [with_interval(*row, "+.1f") for row in numbers]
    folders = {}
    if "p_folder" in table:
        ends = zip(table.low_folder, table.high_folder, strict=True)
        limits = [with_interval(float("nan"), *row, "+.1f") for row in ends]
        folders = {"over folders": limits, "p (Holm) over folders": _rounded(table.p_holm_folder)}
    return pd.DataFrame(
        {
            "Task": table.task.map(names.task_title),
            "P Model": names.model_names(table),
            "against": names.p_model_title(PLAIN),
            "R": table.evaluation_r.map(names.recognizer_title),
            **seeds,
            f"{measure.capitalize()} difference, points [95 %]": pd.Series(
                shown, table.index, dtype=object
            ),
            "p": _rounded(table.p),
            "p (Holm)": _rounded(table.p_holm),
            "n": table.n,
            **folders,
        }
    )


def _rounded(p: pd.Series) -> pd.Series:
    return p.map(lambda value: "" if value != value else f"{value:.2g}")
