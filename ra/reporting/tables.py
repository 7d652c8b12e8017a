"""Tidy evaluations -> the paper's tables, as CSV, Markdown and LaTeX. Nothing is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ra.errors import UserError
from ra.files import atomic, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting.figures import write_heat_map
from ra.reporting.latex import to_latex

IDENTITY = ["dataset", "task", "p_model", "lambda", "training_r", "seed"]
P_MODELS = {
    "no_processing": "No Processing",
    "plain": "Plain Processing",
    "ra": "RA Processing",
    "ra_transformer": "RA with Transformer",
    "ra_unsupervised": "Unsupervised RA",
    "perceptual": "Perceptual Loss",
}
# The names of the paper's tables; "VGG-16" there is the batch-norm variant.
R_NAMES = {
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "densenet121": "DenseNet-121",
    "vgg16_bn": "VGG-16",
}
QUALITY_COLUMNS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
CORNER = "P Model/Evaluation on R"


def p_model_name(name: str) -> str:
    """The paper's name of a P model; a user's own objective keeps its name."""
    return P_MODELS.get(name, name)


def p_model_order(name: str) -> tuple[int, str]:
    """Sorts P models as the paper's tables do, a user's own behind them."""
    known = list(P_MODELS)
    return (known.index(name) if name in known else len(known), name)


def read_evaluations(paths: Sequence[Path]) -> pd.DataFrame:
    """All tidy rows of several ``evaluation.csv``; UserError names a file that is none."""
    frames = []
    for path in paths:
        try:
            frame = pd.read_csv(path, dtype={"training_r": str}, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as an evaluation ({error})") from None
        missing = {*IDENTITY, "evaluation_r", "metric", "value", "low", "high", "n"} - set(
            frame.columns
        )
        if missing:
            raise UserError(f"{path}: not an evaluation; no column {', '.join(sorted(missing))}")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def accuracy_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 (%) of one task in the paper's layout: rows P models, columns R's, mean over seeds."""
    chosen = tidy[(tidy.task == task) & (tidy.metric == "top1")]
    table = _by_model(chosen, "evaluation_r").reindex(columns=list(recognizers))
    table.columns = [R_NAMES.get(name, name) for name in recognizers]
    return table.rename_axis(CORNER)


def quality_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """PSNR (dB) and SSIM of every P, one row per (task, P model), mean over seeds."""
    chosen = tidy[tidy.metric.isin(list(QUALITY_COLUMNS))]
    parts = {task: _by_model(rows, "metric") for task, rows in chosen.groupby("task", sort=False)}
    table = pd.concat(parts, names=["Task", "P Model"])
    return table[list(QUALITY_COLUMNS)].rename(columns=QUALITY_COLUMNS)


def paper_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the published top-1 (%), for every figure that the paper has.

    Source: Liu et al., README of the released code (training R = ResNet-18, ImageNet).
    """
    with files("ra.reporting").joinpath("paper_tables.csv").open() as handle:
        paper = pd.read_csv(handle).rename(columns={"top1": "paper"})
    trained_on = tidy.training_r.isin(["resnet18", NO_RECOGNIZER])
    ours = tidy[(tidy.metric == "top1") & trained_on].rename(columns={"evaluation_r": "recognizer"})
    keys = ["task", "p_model", "recognizer"]
    ours = ours.groupby(keys, as_index=False)["value"].mean().rename(columns={"value": "ours"})
    table = paper.merge(ours, on=keys, how="inner")
    table["difference"] = table.ours - table.paper
    return table[[*keys, "ours", "paper", "difference"]]


def transfer_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 (%) of RA processing: rows training R, columns evaluation R; plain is the first row.

    Source: paper section 4, transfer between architectures.
    """
    chosen = tidy[(tidy.task == task) & (tidy.metric == "top1")]
    rows = chosen[chosen.p_model.isin(["plain", "ra"])]
    table = rows.pivot_table(index="training_r", columns="evaluation_r", values="value")
    order = [NO_RECOGNIZER, *(name for name in recognizers if name in table.index)]
    table = table.reindex(index=order, columns=list(recognizers))
    table.index = [P_MODELS["plain"], *(R_NAMES.get(name, name) for name in order[1:])]
    table.columns = [R_NAMES.get(name, name) for name in recognizers]
    return table.rename_axis("Training R/Evaluation on R")


def own_recognizer_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 (%) where each R judges the P that was trained with it (the paper's table 1)."""
    chosen = tidy[(tidy.task == task) & (tidy.metric == "top1")]
    own = (chosen.training_r == chosen.evaluation_r) | (chosen.training_r == NO_RECOGNIZER)
    table = chosen[own].pivot_table(index="p_model", columns="evaluation_r", values="value")
    present = sorted(table.index, key=p_model_order)
    table = table.reindex(index=present, columns=list(recognizers))
    table.index = [p_model_name(name) for name in present]
    table.columns = [R_NAMES.get(name, name) for name in recognizers]
    return table.rename_axis("P Model/Training and evaluation R")


def write_transfer(evaluations: Sequence[Path], out: Path, recognizers: Sequence[str]) -> None:
    """Write transfer_TASK and table1_TASK as CSV, Markdown, LaTeX and heat map, for every task."""
    tidy = read_evaluations(evaluations)
    recognizers = _columns(tidy, recognizers)
    for task in tidy.task.unique():
        for name, make in (("transfer", transfer_table), ("table1", own_recognizer_table)):
            table = make(tidy, task, recognizers)
            _write(out / f"{name}_{task}", table, bounds(make, tidy, task, recognizers))
            title = f"{task}: top-1, {table.index.name}"
            write_heat_map(out / f"{name}_{task}.png", table, title)


def _by_model(rows: pd.DataFrame, columns: str) -> pd.DataFrame:
    """Mean value with one row per P model, in the paper's order."""
    rows = rows.assign(label=model_names(rows), order=rows.p_model.map(p_model_order))
    order = rows.sort_values(["order", "lambda", "training_r"], kind="stable").label.unique()
    return rows.pivot_table(index="label", columns=columns, values="value").loc[order]


def model_names(rows: pd.DataFrame) -> pd.Series:
    """P model names; lambda and training R are added where a name alone is not unique."""
    labels = rows.p_model.map(p_model_name)
    for column, text in (("lambda", ", lambda {}"), ("training_r", ", R {}")):
        several = rows.groupby("p_model")[column].transform("nunique") > 1
        labels = labels.where(~several, labels + rows[column].map(text.format))
    return labels


def write_tables(
    evaluations: Sequence[Path], out: Path, recognizers: Sequence[str], paper: bool = False
) -> None:
    """Write all.csv, TASK.csv, quality.csv (and paper.csv), each table also as .md and .tex.

    Args:
        recognizers: columns of the tables, in order; empty takes every R that occurs.
    """
    tidy = read_evaluations(evaluations)
    recognizers = _columns(tidy, recognizers)
    for task in tidy.task.unique():
        table = accuracy_table(tidy, task, recognizers)
        _write(out / task, table, bounds(accuracy_table, tidy, task, recognizers))
    _write(out / "quality", quality_table(tidy), bounds(quality_table, tidy), decimals=3)
    if paper:
        _write(out / "paper", paper_table(tidy).set_index("task"), bold=False)
    with atomic(out / "all.csv") as temporary:
        tidy.to_csv(temporary, index=False)


def _columns(tidy: pd.DataFrame, recognizers: Sequence[str]) -> Sequence[str]:
    """The R's of a table: those asked for, else all that occur."""
    unknown = set(recognizers) - set(tidy.evaluation_r)
    if unknown:
        raise UserError(f"--recognizers: {', '.join(sorted(unknown))} is in no evaluation")
    return recognizers or [r for r in tidy.evaluation_r.unique() if r != NO_RECOGNIZER]


def bounds(make, tidy: pd.DataFrame, *arguments) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(lower, upper) limits of the 95 % intervals over the images, in the layout of ``make``.

    Over several seeds the limits are averaged as the values are: how much another set of images
    would change the mean, not how much another seed would.
    """
    low, high = (make(tidy.assign(value=tidy[limit]), *arguments) for limit in ("low", "high"))
    return low, high


def _write(path: Path, table: pd.DataFrame, limits=None, decimals: int = 1, bold=True) -> None:
    """CSV, Markdown and LaTeX with the same, rounded numbers; ``limits`` in LaTeX only."""
    with atomic(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, float_format=f"%.{decimals}f")
    write_markdown(table.reset_index(), path.with_suffix(".md"), floatfmt=f".{decimals}f")
    write_text(path.with_suffix(".tex"), to_latex(table, decimals, limits, bold))


def write_markdown(table: pd.DataFrame, path: Path, **options: object) -> None:
    """A table without its index as Markdown."""
    write_text(path, table.to_markdown(index=False, **options) + "\n")
