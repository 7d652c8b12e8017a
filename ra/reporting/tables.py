"""Tidy evaluations -> the paper's tables, as CSV, Markdown and LaTeX."""

from collections.abc import Callable, Collection, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ra.errors import UserError
from ra.files import write_csv, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting import names
from ra.reporting.names import CLEAN, PLAIN
from ra.reporting.plots import write_heat_map

IDENTITY = ["dataset", "task", "p_model", "lambda", "training_r", "seed"]
NUMBERS = ["value", "low", "high"]


def read_evaluations(paths: Sequence[Path]) -> pd.DataFrame:
    """All tidy rows of several ``evaluation.csv`` of one data set.

    UserError names a file that is none, and two files that disagree about the same processor
    (such as two architectures), of which a table could only show the mean. Clean images belong to
    no task: their rows are repeated for each, as the ceiling of its table.
    """
    frames = []
    for path in paths:
        try:
            empty = {name: [""] for name in NUMBERS}  # the interval of a single image
            options = {"keep_default_na": False, "na_values": empty}
            frame = pd.read_csv(path, dtype={"training_r": str}, **options)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as an evaluation ({error})") from None
        missing = {*IDENTITY, "evaluation_r", "metric", *NUMBERS, "n"} - set(frame.columns)
        if missing:
            raise UserError(f"{path}: not an evaluation; no column {', '.join(sorted(missing))}")
        frames.append(frame)
    tidy = pd.concat(frames, ignore_index=True)
    _check_unambiguous(tidy, np.repeat(list(map(str, paths)), list(map(len, frames))).tolist())
    clean, rest = tidy[tidy.p_model == CLEAN], tidy[tidy.p_model != CLEAN]
    clean = clean[clean.evaluation_r != NO_RECOGNIZER]  # an image's quality against itself
    ceilings = [clean.assign(task=task) for task in rest.task.unique()]
    return pd.concat([*ceilings, rest], ignore_index=True) if ceilings else tidy


def _check_unambiguous(tidy: pd.DataFrame, origin: Sequence[str]) -> None:
    if tidy.dataset.nunique() > 1:
        several = ", ".join(map(str, tidy.dataset.unique()))
        raise UserError(f"--evaluations: of several data sets ({several}); make a table of each")
    keys = [*IDENTITY, "evaluation_r", "metric"]
    first = tidy.groupby(keys)["value"].transform("first")
    for row in tidy.index[(tidy.value != first) & tidy.value.notna()][:1]:
        same = (tidy[keys] == tidy.loc[row, keys]).all(axis=1)
        raise UserError(
            f"{origin[same.idxmax()]} and {origin[row]}: two results of one task, objective, "
            "lambda, training recognizer and seed; a table would average them, so give one"
        )


def accuracy_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 or agreement (%) of one task: rows processors, columns recognizers (as the paper's)."""
    rows = tidy[(tidy.task == task) & tidy.metric.isin(names.HEADLINES)]
    table = _pivot(rows, names.model_names(rows))
    return _with_recognizers(table, recognizers, "P Model/Evaluation on R")


def quality_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """Measures of image quality, one row per (task, processor); seeds averaged."""
    from ra.evaluation.quality import MEASURES

    known = tidy[tidy.evaluation_r == NO_RECOGNIZER].metric.unique()
    order = [*(name for name in MEASURES if name in known), *(set(known) - set(MEASURES))]
    columns = [m for m in order if m not in MEASURES or MEASURES.get(m).in_tables]
    chosen = tidy[tidy.metric.isin(columns)]
    parts = {
        names.task_title(task): _pivot(rows, names.model_names(rows), "metric")
        for task, rows in chosen.groupby("task", sort=False)
    }
    if not parts:  # inputs without targets
        return pd.DataFrame()
    table = pd.concat(parts, names=["Task", "P Model"])
    return table[columns].rename(columns=names.measure_title)


def paper_table(tidy: pd.DataFrame) -> pd.DataFrame:
    """Ours beside the published top-1 (%), for every figure of the paper; a row per lambda.

    Source: Liu et al., README of the released code (training R = ResNet-18, ImageNet).
    """
    with files("ra.reporting").joinpath("paper_tables.csv").open() as handle:
        paper = pd.read_csv(handle).rename(columns={"top1": "paper"})
    trained_on = tidy.training_r.isin(["resnet18", NO_RECOGNIZER])
    ours = tidy[(tidy.metric == "top1") & trained_on].rename(columns={"evaluation_r": "recognizer"})
    keys = ["task", "p_model", "lambda", "recognizer"]
    ours = ours.groupby(keys, as_index=False)["value"].mean().rename(columns={"value": "ours"})
    table = paper.merge(ours, on=["task", "p_model", "recognizer"], how="inner")
    titles = {
        "Task": table.task.map(names.task_title),
        "P Model": table.p_model.map(names.p_model_title),
        "lambda": table["lambda"].map("{:g}".format),
        "R": table.recognizer.map(names.recognizer_title),
    }
    numbers = table[["ours", "paper"]].assign(difference=table.ours - table.paper)
    return pd.DataFrame(titles).join(numbers)


def transfer_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 (%) of RA processing: rows training R, columns evaluation R; clean and plain first.

    Where a training R has several lambdas, each is a row. Source: paper section 4, transfer
    between architectures.
    """
    shown = [CLEAN, PLAIN, names.aware(tidy.p_model)]
    rows = tidy[(tidy.task == task) & tidy.metric.isin(names.HEADLINES) & tidy.p_model.isin(shown)]
    without = rows.p_model.isin([CLEAN, PLAIN])
    labels = rows.training_r.map(names.recognizer_title)
    labels = labels.where(~without, rows.p_model.map(names.p_model_title))
    several = rows.groupby(["p_model", "training_r"])["lambda"].transform("nunique") > 1
    labels = labels.where(~several, labels + rows["lambda"].map(", lambda {:g}".format))
    table = _pivot(rows, labels, recognizers=recognizers)
    return _with_recognizers(table, recognizers, "Training R/Evaluation on R")


def own_recognizer_table(tidy: pd.DataFrame, task: str, recognizers: Sequence[str]) -> pd.DataFrame:
    """Top-1 (%) of each recognizer on the processors trained with it (the paper's table 1)."""
    rows = tidy[(tidy.task == task) & tidy.metric.isin(names.HEADLINES)]
    rows = rows[(rows.training_r == rows.evaluation_r) | (rows.training_r == NO_RECOGNIZER)]
    table = _pivot(rows, names.model_names(rows, apart=("lambda",)))
    return _with_recognizers(table, recognizers, "P Model/Training and evaluation R")


def _pivot(
    rows: pd.DataFrame, labels: pd.Series, columns="evaluation_r", recognizers: Sequence[str] = ()
) -> pd.DataFrame:
    """Mean value (over seeds), one row per label: objectives as registered, then by training R as
    in ``recognizers``, then by lambda."""
    place = {name: number for number, name in enumerate(recognizers)}
    order, places = rows.p_model.map(names.p_model_order), rows.training_r.map(place)
    rows = rows.assign(label=labels, order=order, place=places.fillna(len(place)))
    order = rows.sort_values(["order", "place", "lambda", "training_r"], kind="stable").label
    table = rows.groupby(["label", columns])["value"].mean().unstack()
    return table.loc[order.unique()]


def _with_recognizers(table: pd.DataFrame, recognizers: Sequence[str], corner: str) -> pd.DataFrame:
    table = table.reindex(columns=list(recognizers)).rename(columns=names.recognizer_title)
    return table.rename_axis(index=corner, columns=None)


def write_transfer(evaluations: Sequence[Path], out: Path, recognizers: Sequence[str]) -> None:
    """Write transfer_TASK and table1_TASK as CSV, Markdown, LaTeX and heat map, for every task."""
    tidy = read_evaluations(evaluations)
    recognizers = columns_of(tidy, recognizers)
    for task in tidy.task.unique():
        for name, make in (("transfer", transfer_table), ("table1", own_recognizer_table)):
            table = make(tidy, task, recognizers)
            _write(out / f"{name}_{task}", table, bounds(make, tidy, task, recognizers))
            title = f"{names.task_title(task)}: {names.measured(tidy.metric)}, {table.index.name}"
            write_heat_map(out / f"{name}_{task}.png", table, title)


def write_tables(
    evaluations: Sequence[Path], out: Path, recognizers: Sequence[str], paper: bool = False
) -> None:
    """Write all.csv, TASK.csv, quality.csv (and paper.csv), each table also as .md and .tex.

    Args:
        recognizers: columns of the tables, in order; empty takes every one that occurs.
    """
    from ra.evaluation.quality import MEASURES

    tidy = read_evaluations(evaluations)
    recognizers = columns_of(tidy, recognizers)
    for task in tidy.task.unique():
        table = accuracy_table(tidy, task, recognizers)
        limits = bounds(accuracy_table, tidy, task, recognizers)
        _write(out / task, table, limits, trained=training_recognizers(tidy[tidy.task == task]))
    lowest = [names.measure_title(m) for m in MEASURES if not MEASURES.get(m).higher_is_better]
    if len(quality := quality_table(tidy)):
        limits = bounds(quality_table, tidy)
        _write(out / "quality", quality, limits, decimals=3, lowest=lowest)
    if paper:
        _write(out / "paper", paper_table(tidy).set_index("Task"), bold=False)
    write_csv(out / "all.csv", tidy)


def training_recognizers(rows: pd.DataFrame) -> list[str]:
    """Titles of the recognizers that trained every processor of ``rows`` that one trained."""
    trained = {*rows.training_r} - {NO_RECOGNIZER}
    return [*map(names.recognizer_title, trained.pop().split("+"))] if len(trained) == 1 else []


def columns_of(tidy: pd.DataFrame, recognizers: Sequence[str]) -> list[str]:
    """The recognizers of a table: the given ones, else all that occur."""
    unknown = set(recognizers) - set(tidy.evaluation_r)
    if unknown:
        raise UserError(f"--recognizers: {', '.join(sorted(unknown))} is in no evaluation")
    return list(recognizers) or [r for r in tidy.evaluation_r.unique() if r != NO_RECOGNIZER]


def bounds(
    make: Callable[..., pd.DataFrame], tidy: pd.DataFrame, *arguments: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(lower, upper) limits of the 95 % intervals over the images, in the layout of ``make``.

    Over several seeds the limits are averaged as the values are: how much another set of images
    would change the mean, not how much another seed would.
    """
    low, high = (make(tidy.assign(value=tidy[limit]), *arguments) for limit in ("low", "high"))
    return low, high


def _write(
    path: Path, table: pd.DataFrame, limits=(), decimals: int = 1, trained=(), **latex
) -> None:
    """CSV, Markdown, HTML and LaTeX with the same, rounded numbers; ``limits`` in LaTeX only, the
    mark of the columns ``trained`` in all but the CSV."""
    write_csv(path.with_suffix(".csv"), table.reset_index(), float_format=f"%.{decimals}f")
    marked = {name: f"{name} (training R)" for name in trained}
    table, *limits = (one.rename(columns=marked) for one in (table, *limits))
    write_markdown(table.reset_index(), path.with_suffix(".md"), floatfmt=f".{decimals}f")
    write_html(table.reset_index(), path.with_suffix(".html"), decimals)
    write_text(path.with_suffix(".tex"), to_latex(table, decimals, limits, **latex))


def with_interval(value: float, low: float, high: float, style: str = ".1f") -> str:
    """``1.5 [0.5, 2.5]``; what is NaN, as the interval of a single image, is left out.

    >>> with_interval(1.5, 0.5, 2.5, "+.1f"), with_interval(1.5, float("nan"), float("nan"))
    ('+1.5 [+0.5, +2.5]', '1.5')
    """
    known = [] if value != value else [f"{value:{style}}"]
    return " ".join(known if low != low else [*known, f"[{low:{style}}, {high:{style}}]"])


def write_markdown(table: pd.DataFrame, path: Path, **options: object) -> None:
    """A table without its index as Markdown."""
    write_text(path, table.to_markdown(index=False, **options) + "\n")


def write_html(table: pd.DataFrame, path: Path, decimals: int = 1) -> None:
    """A table without its index as a page, for Snakemake's report."""
    style = table.style.hide(axis="index").format(escape="html", precision=decimals)
    look = [("", "border-collapse: collapse; background: white; font: 15px sans-serif")]
    look += [("td, th", "padding: .3em .7em; border-bottom: 1px solid #ccc; text-align: right")]
    look += [(".col0", "text-align: left")]
    style.set_uuid("").set_table_styles([{"selector": s, "props": p} for s, p in look])
    write_text(path, style.to_html(doctype_html=True))


def to_latex(
    table: pd.DataFrame,
    decimals: int,
    limits: Sequence[pd.DataFrame] = (),
    bold: bool = True,
    lowest: Collection[str] = (),
) -> str:
    r"""A ``tabular`` of ``table`` (index and columns are headings); needs \usepackage{booktabs}.

    Args:
        decimals: of every number.
        limits: (lower, upper) ends of the intervals, shaped as ``table``; set in small.
        bold: set the best value of each column in bold, ties included, clean images apart; with
            two index levels the best of each group of the first, and a rule between groups.
        lowest: columns whose best value is the lowest.
    """

    def texts(numbers: pd.DataFrame) -> pd.DataFrame:
        return numbers.map(lambda v: f"{v:.{decimals}f}" if isinstance(v, float) else str(v))

    levels, cells = table.index.nlevels, texts(table)
    groups = table.index.get_level_values(0) if levels > 1 else [""] * len(table)
    if bold:
        sign = pd.Series([-1 if name in lowest else 1 for name in table], table.columns)
        rivals = table * sign
        rivals[table.index == names.UNTRAINED[CLEAN]] = -np.inf
        best = texts(rivals.groupby(groups).transform("max") * sign)
        cells = cells.where(cells != best, r"\textbf{" + cells + "}")
    if limits:
        interval = r" {\scriptsize [" + texts(limits[0]) + ", " + texts(limits[1]) + "]}"
        cells = cells.where(limits[0].isna(), cells + interval)
    cells = cells.where(table.notna(), "--").reset_index()
    group = cells.iloc[:, 0]
    begins = group != group.shift()
    if levels > 1:
        cells = cells.assign(**{group.name: group.where(begins, "")})
    words = [*table.index.names, *table.select_dtypes(exclude="number")]
    style = cells.style.hide(axis="index").format(escape="latex", subset=words)
    style = style.format_index(escape="latex", axis=1)
    lines = style.to_latex(hrules=True, column_format="l" * levels + "r" * table.shape[1])
    lines = lines.splitlines()
    if levels > 1:
        for row in reversed(begins.index[begins][1:]):
            lines.insert(4 + row, r"\midrule")
    return "\n".join(lines) + "\n"
