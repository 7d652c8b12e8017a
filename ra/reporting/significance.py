"""Every "A beats B" of the tables, from the stored answers to each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ra.errors import UserError
from ra.evaluation.statistics import compare, holm, over_seeds
from ra.files import atomic, write_text
from ra.reporting.latex import to_latex
from ra.reporting.tables import IDENTITY, model_names, read_evaluations, write_markdown

P_MODEL = ["task", "p_model", "lambda", "training_r"]
ALL_SEEDS = "all"


def read_answers(evaluation: Path) -> tuple[dict[str, object], pd.DataFrame]:
    """(identity, per-image answers) of an ``evaluation.csv`` and the ``images.csv`` beside it."""
    identity = read_evaluations([evaluation])[IDENTITY].iloc[0].to_dict()
    path = evaluation.with_name("images.csv")
    try:
        return identity, pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as per-image answers ({error})") from None


def recognizers_in(images: pd.DataFrame) -> list[str]:
    """The R's that answered."""
    return [name.removesuffix(":top1") for name in images.columns if name.endswith(":top1")]


def compare_answers(ours: pd.DataFrame, theirs: pd.DataFrame, what: str) -> pd.DataFrame:
    """One row per R that answered to both: evaluation_r and what ``compare`` says."""
    if list(ours["path"]) != list(theirs["path"]):
        raise UserError(f"{what}: not answers to the same images; evaluate both on one data set")
    common = [r for r in recognizers_in(ours) if f"{r}:top1" in theirs]
    pairs = {r: (ours[f"{r}:top1"], theirs[f"{r}:top1"]) for r in common}
    return pd.DataFrame([{"evaluation_r": r} | compare(*pair) for r, pair in pairs.items()])


def significance(evaluations: Sequence[Path]) -> pd.DataFrame:
    """Every P against the plain P of its task and seed, as every R sees it.

    Returns:
        Columns task, p_model, lambda, training_r, seed, evaluation_r, difference (percentage
        points of top-1), low, high, p, n (images), p_holm (adjusted over the rows of one seed).
        Where there are several seeds, rows with seed "all" hold their mean, its t interval and
        the p of a t test over seeds.
    """
    known = [read_answers(path) for path in evaluations]
    plain = {
        (identity["task"], identity["seed"]): images
        for identity, images in known
        if identity["p_model"] == "plain"
    }
    parts = []
    for identity, images in known:
        key = (identity["task"], identity["seed"])
        if identity["p_model"] in ("plain", "no_processing") or key not in plain:
            continue
        what = f"{identity['task']} {identity['p_model']} and plain, seed {identity['seed']}"
        rows = compare_answers(images, plain[key], what)
        named = {name: identity[name] for name in (*P_MODEL, "seed")}
        parts.append(rows.assign(**named))
    columns = [*P_MODEL, "seed", "evaluation_r", "difference", "low", "high", "p", "n"]
    table = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    table = pd.concat([table, *_means(table)], ignore_index=True)
    families = table.groupby("seed", sort=False)["p"]
    return table.assign(p_holm=families.transform(holm) if parts else None)


def _means(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows over all seeds, where there are several."""
    rows = []
    for key, group in table.groupby([*P_MODEL, "evaluation_r"], sort=False):
        if len(group) > 1:
            named = dict(zip([*P_MODEL, "evaluation_r"], key, strict=True))
            named |= {"seed": ALL_SEEDS, "n": group.n.iloc[0]}
            rows.append({**named, **over_seeds(group.difference.tolist())})
    return [pd.DataFrame(rows)] if rows else []


def write_significance(evaluations: Sequence[Path], out: Path) -> None:
    """significance.csv with every digit; significance.md and .tex rounded."""
    table = significance(evaluations)
    with atomic(out / "significance.csv") as temporary:
        table.to_csv(temporary, index=False)
    rounded = readable(table)
    write_markdown(rounded, out / "significance.md")
    latex = to_latex(rounded.set_index(["Task", "P Model"]), decimals=1, bold=False)
    write_text(out / "significance.tex", latex)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``significance`` with names, and numbers rounded as text."""
    seeds = {"Seed": table.seed} if table.seed.nunique() > 1 else {}
    return pd.DataFrame(
        {
            "Task": table.task,
            "P Model": model_names(table),
            "against": "Plain Processing",
            "R": table.evaluation_r,
            **seeds,
            **difference_columns(table),
            "p (Holm)": table.p_holm.map("{:.2g}".format),
            "n": table.n,
        }
    )


def difference_columns(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Difference with its interval, and McNemar's p, as text."""
    numbers = zip(table.difference, table.low, table.high, strict=True)
    shown = [f"{d:+.1f} [{low:+.1f}, {high:+.1f}]" for d, low, high in numbers]
    return {
        "Top-1 difference, points [95 %]": pd.Series(shown, index=table.index, dtype=object),
        "p": table.p.map("{:.2g}".format),
    }
