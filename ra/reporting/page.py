"""One page for a colleague: tables with intervals and marks, plots, and images that are classified
rightly after recognition-aware processing.

Everything on the page comes from files of the experiment and is embedded in the page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ra import __version__
from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.splits import Crops, open_split
from ra.errors import UserError
from ra.evaluation.statistics import LEVEL
from ra.files import write_text
from ra.models.checkpoints import load_processor, read_header
from ra.reporting import plots
from ra.reporting.names import (
    NO_PROCESSING,
    PLAIN,
    RA,
    measure_title,
    model_names,
    p_model_title,
    recognizer_title,
    task_title,
)
from ra.reporting.significance import ALL_SEEDS, read_identity
from ra.reporting.tables import (
    accuracy_table,
    bounds,
    columns_of,
    quality_table,
    read_evaluations,
)

PICTURES = 6  # of each task


@dataclass(frozen=True)
class Cell:
    """A number of the headline table."""

    value: str
    interval: str
    best: bool
    mark: str  # ▲ or ▼ where the difference to plain is significant
    note: str  # p and difference, shown when the mouse is over it


@dataclass(frozen=True)
class Example:
    """An image that a recognizer gets wrong after plain processing and right after RA processing;
    pictures as data URIs."""

    label: str
    pictures: dict[str, str]  # Input, Plain, RA, Target
    answers: dict[str, tuple[str, bool]]  # Plain, RA -> (prediction, right)


@dataclass(frozen=True)
class Examples:
    """The picture grid of one task."""

    task: str
    model: str
    recognizer: str
    met: bool  # whether that recognizer trained the processor
    gained: int
    lost: int
    images: int
    shown: list[Example]


def write_report(
    evaluations: Sequence[Path],
    save_dir: Path,
    data: Path | None = None,
    significance: Path | None = None,
    recognizers: Sequence[str] = (),
) -> None:
    """Write report.html, bars.svg, gains.svg and plane.svg to ``save_dir``.

    Args:
        evaluations: evaluation.csv files; images.csv and processor.safetensors lie beside them.
        data: the prepared data set; without it the page has no pictures.
        significance: significance.csv of ``ra table``; without it the table has no marks.
        recognizers: columns, in order; empty takes every one that occurs.
    """
    tidy = read_evaluations(evaluations)
    recognizers = columns_of(tidy, recognizers)
    tasks = list(tidy.task.unique())
    tables = {task: accuracy_table(tidy, task, recognizers) for task in tasks}
    limits = {task: bounds(accuracy_table, tidy, task, recognizers) for task in tasks}
    tests = read_significance(significance)
    quality = quality_table(tidy)
    psnr = {task: quality[measure_title("psnr")][task_title(task)] for task in tasks}
    drawn = {
        "bars": plots.bars(tables, limits),
        "gains": plots.gains(gain) if len(gain := gain_table(tables)) else "",
        "plane": plots.plane(tables, psnr),
    }
    page = _template().render(
        dataset=", ".join(map(str, tidy.dataset.unique())),
        images=int(tidy.n.max()),
        seeds=tidy.seed.nunique(),
        version=__version__,
        headlines=[headline(task, table, tests) for task, table in tables.items()],
        task_names={task: task_title(task) for task in tasks},
        recognizers=[recognizer_title(name) for name in recognizers],
        tables={
            task: headline_cells(task, table, limits[task], tests, recognizers)
            for task, table in tables.items()
        },
        marked=not tests.empty,
        level=LEVEL,
        quality=quality.reset_index().to_dict("split"),
        plots=drawn,
        examples=[found for task in tasks if (found := examples(evaluations, task, data))]
        if data
        else [],
        settings=settings_of(evaluations),
    )
    for name, svg in drawn.items():
        write_text(save_dir / f"{name}.svg", svg or "<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_text(save_dir / "report.html", page)


def _template():
    from jinja2 import Environment, StrictUndefined

    text = files("ra.reporting").joinpath("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def read_significance(path: Path | None) -> pd.DataFrame:
    """The tests against plain, one row per (task, model name, recognizer); of several seeds
    their mean."""
    if path is None:
        return pd.DataFrame(columns=["task", "model", "evaluation_r", "difference", "p_holm"])
    try:
        table = pd.read_csv(path, dtype={"training_r": str, "seed": str}, keep_default_na=False)
        overall = table[table.seed == ALL_SEEDS]
        overall = table if overall.empty else overall
        numbers = overall[["difference", "p_holm"]].apply(pd.to_numeric)
        return overall.assign(model=model_names(overall), **numbers)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as significance.csv ({error})") from None


def headline(task: str, table: pd.DataFrame, tests: pd.DataFrame) -> str:
    """One sentence: how many recognizers are better on the output of RA than on that of plain."""
    title, plain, nothing = task_title(task), p_model_title(PLAIN), p_model_title(NO_PROCESSING)
    name = next((n for n in table.index if n.startswith(p_model_title(RA))), None)
    if name is None or plain not in table.index:
        best = table.mean(axis=1).idxmax()
        return f"{title}: {best} is best, {table.loc[best].mean():.1f} % top-1 on average."
    gain = table.loc[name] - table.loc[plain]
    better = int((gain > 0).sum())
    text = f"{title}: {better} of {len(gain)} recognizers are more accurate after {name} than "
    text += f"after {plain}, {gain.mean():+.1f} points of top-1 on average"
    if not tests.empty:
        own = tests[(tests.task == task) & (tests.model == name) & (tests.difference > 0)]
        text += f"; {int((own.p_holm < LEVEL).sum())} of {better} gains significant"
    if nothing in table.index:
        rest = (table.loc[name] - table.loc[nothing]).mean()
        text += f". Against no processing it is {rest:+.1f} points"
    return text + "."


def headline_cells(
    task: str, table: pd.DataFrame, limits, tests: pd.DataFrame, recognizers: Sequence[str]
) -> list[tuple[str, list[Cell]]]:
    """(P model, cells) of each row."""
    rows = []
    for row, name in enumerate(table.index):
        cells = []
        for column, recognizer in enumerate(recognizers):
            value, low, high = (part.iat[row, column] for part in (table, *limits))
            test = tests[
                (tests.task == task) & (tests.model == name) & (tests.evaluation_r == recognizer)
            ]
            mark, note = "", ""
            if len(test):
                difference, p = test.difference.iloc[0], test.p_holm.iloc[0]
                mark = "" if p >= LEVEL else "▲" if difference > 0 else "▼"
                note = f"{difference:+.1f} points against plain, p = {p:.2g} (Holm)"
            best = round(value, 1) == round(table.iloc[:, column].max(), 1)
            cells.append(Cell(f"{value:.1f}", f"{low:.1f}–{high:.1f}", best, mark, note))
        rows.append((name, cells))
    return rows


def gain_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Points of top-1 of each trained processor over plain: rows (task, processor), columns
    recognizers."""
    plain, nothing = p_model_title(PLAIN), p_model_title(NO_PROCESSING)
    parts = {
        task_title(task): table.drop([plain, nothing], errors="ignore") - table.loc[plain]
        for task, table in tables.items()
        if plain in table.index
    }
    return pd.concat(parts) if parts else pd.DataFrame()


def examples(evaluations: Sequence[Path], task: str, data: Path) -> Examples | None:
    """Images that a recognizer gets wrong after plain and right after RA, the first of each class.

    The recognizer is one that took no part in the training where there is one. How often the
    opposite happens is counted as well.
    """
    identities = {path: read_identity(path) for path in evaluations}
    mine = {path: identity for path, identity in identities.items() if identity["task"] == task}
    path = next((p for p, identity in mine.items() if identity["p_model"] == RA), None)
    if path is None:
        return None
    identity = mine[path]
    same = {"p_model": PLAIN, "seed": identity["seed"]}
    plain = next((p for p, other in mine.items() if same.items() <= other.items()), None)
    if plain is None:
        return None
    before, after = (pd.read_csv(p.with_name("images.csv")) for p in (plain, path))
    known = [c.removesuffix(":prediction") for c in after if c.endswith(":prediction")]
    r = next((r for r in known if r != identity["training_r"]), known[0])
    wrong, right = before[f"{r}:top1"] == 0, after[f"{r}:top1"] == 1
    found = after[wrong & right].drop_duplicates("label").head(PICTURES)
    return Examples(
        task=task,
        model=f"{p_model_title(RA)} (lambda {identity['lambda']:g})",
        recognizer=recognizer_title(r),
        met=r == identity["training_r"],
        gained=int((wrong & right).sum()),
        lost=int((~wrong & ~right).sum()),
        images=len(after),
        shown=_pictures(found, before, r, plain, path, data),
    )


@torch.inference_mode()
def _pictures(found, before, r: str, plain: Path, aware: Path, data: Path) -> list[Example]:
    if found.empty:
        return []
    split = open_split(data, "val")
    header = read_header(aware.with_name("processor.safetensors"))
    task = build_task(header["task"], **header.get("task_settings", {}))
    processors = [load_processor(p.with_name("processor.safetensors")) for p in (plain, aware)]
    classes = split.info.classes
    shown = []
    for row in found.to_dict("records"):
        batch = Crops(split, task).__getitems__([(0, VALIDATION, row["index"])])
        batch = batch.to(torch.device("cpu"))
        outputs = [processor(batch.input).clamp(0, 1) for processor in processors]
        images = [no_processing(batch.input, task.scale), *outputs, batch.target]
        names = ("Input", "Plain", "RA", "Target")
        was = int(before.loc[before["index"] == row["index"], f"{r}:prediction"].iloc[0])
        shown.append(
            Example(
                classes[row["label"]],
                {n: _data_uri(image[0]) for n, image in zip(names, images, strict=True)},
                {"Plain": (classes[was], False), "RA": (classes[row["label"]], True)},
            )
        )
    return shown


def _data_uri(image: Tensor) -> str:
    """(3, H, W) in [0, 1] as a PNG in a URI."""
    buffer = io.BytesIO()
    plots.to_image(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def settings_of(evaluations: Sequence[Path]) -> list[dict[str, str]]:
    """How each processor was trained, from the headers of the model files."""
    rows = []
    for path in evaluations:
        model = path.with_name("processor.safetensors")
        if model.exists():
            header = read_header(model)
            made = header.get("settings", {})
            network = header.get("network", {})
            rows.append(
                {
                    "P": f"{header['task']} {header['objective']} λ={header['lambda']:g}",
                    "training R": header["recognizer"],
                    "seed": header.get("seed", ""),
                    "network": " ".join(f"{k}={v}" for k, v in network.items()),
                    "schedule": ", ".join(
                        f"{key} {made[key]}"
                        for key in ("epochs", "batch_size", "optimizer", "lr", "lr_schedule")
                        if key in made
                    ),
                    "data": str(made.get("data_digest", ""))[:12],
                }
            )
    return rows
