"""One page for a colleague: tables with intervals and marks, plots, and images that are classified
rightly after recognition-aware processing.

Everything on the page comes from files of the experiment and is embedded in the page.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
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
from ra.reporting import names, plots
from ra.reporting.names import NO_PROCESSING, PLAIN
from ra.reporting.significance import ALL_SEEDS, agreement_as_top1, read_identity
from ra.reporting.tables import (
    accuracy_table,
    bounds,
    columns_of,
    quality_table,
    read_evaluations,
)

PICTURES = 6  # of each task
PICTURE_NAMES = ("Input", "Plain", "RA", "Target")


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
    from jinja2 import Environment, StrictUndefined

    tidy = read_evaluations(evaluations)
    recognizers = columns_of(tidy, recognizers)
    tasks = list(tidy.task.unique())
    tables = {task: accuracy_table(tidy, task, recognizers) for task in tasks}
    limits = {task: bounds(accuracy_table, tidy, task, recognizers) for task in tasks}
    tests = read_significance(significance)
    quality, measure = quality_table(tidy), names.measured(tidy)
    psnr = names.measure_title("psnr") in quality
    drawn = {
        "bars": plots.bars(tables, limits, measure),
        "gains": plots.gains(gain, measure) if len(gain := gain_table(tables)) else "",
        "plane": plots.plane(tables, quality, measure) if psnr else "",
    }
    template = files("ra.reporting").joinpath("page.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(template)
    text = page.render(
        dataset=", ".join(map(str, tidy.dataset.unique())),
        images=int(tidy.n.max()),
        seeds=tidy.seed.nunique(),
        version=__version__,
        measure=measure,
        headlines=[headline(task, table, tests, measure) for task, table in tables.items()],
        recognizers=[names.recognizer_title(name) for name in recognizers],
        tables={
            names.task_title(task): headline_cells(table, limits[task], tests[tests.task == task])
            for task, table in tables.items()
        },
        marked=not tests.empty,
        level=LEVEL,
        quality=quality.reset_index().to_dict("split"),
        plots=drawn,
        examples=[e for task in tasks if data and (e := examples(evaluations, task, data))],
        settings=settings_of(evaluations),
    )
    for name, svg in drawn.items():
        write_text(save_dir / f"{name}.svg", svg or "<svg xmlns='http://www.w3.org/2000/svg'/>")
    write_text(save_dir / "report.html", text)


def read_significance(path: Path | None) -> pd.DataFrame:
    """The tests against plain, one row per (task, model name, recognizer); of several seeds
    their mean."""
    columns = ["task", "model", "recognizer", "difference", "p_holm"]
    if path is None:
        return pd.DataFrame(columns=columns)
    try:
        empty = {"difference": [""], "p_holm": [""]}
        table = pd.read_csv(path, dtype={"seed": str}, keep_default_na=False, na_values=empty)
        if (table.seed == ALL_SEEDS).any():
            table = table[table.seed == ALL_SEEDS]
        titles = table.evaluation_r.map(names.recognizer_title)
        return table.assign(model=names.model_names(table), recognizer=titles)[columns]
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as significance.csv ({error})") from None


def headline(task: str, table: pd.DataFrame, tests: pd.DataFrame, measure: str) -> str:
    """One sentence: how many recognizers are better on the output of RA than on that of plain."""
    title, plain, nothing = (
        names.task_title(task),
        names.p_model_title(PLAIN),
        names.p_model_title(NO_PROCESSING),
    )
    name = next((n for n in table.index if n not in (plain, nothing)), None)
    if name is None or plain not in table.index:
        best = table.mean(axis=1).idxmax()
        return f"{title}: {best} is best, {table.loc[best].mean():.1f} % {measure} on average."
    gain = table.loc[name] - table.loc[plain]
    better = int((gain > 0).sum())
    do = "are more accurate" if measure == "top-1" else "agree more"
    text = f"{title}: {better} of {len(gain)} recognizers {do} after {name} than "
    text += f"after {plain}, {gain.mean():+.1f} points of {measure} on average"
    if not tests.empty:
        own = tests[(tests.task == task) & (tests.model == name) & (tests.difference > 0)]
        text += f"; {int((own.p_holm < LEVEL).sum())} of {better} gains significant"
    if nothing in table.index:
        rest = (table.loc[name] - table.loc[nothing]).mean()
        text += f". Against no processing it is {rest:+.1f} points"
    return text + "."


def headline_cells(
    table: pd.DataFrame, limits: tuple[pd.DataFrame, pd.DataFrame], tests: pd.DataFrame
) -> list[tuple[str, list[dict[str, object]]]]:
    """(processor, cells) of each row.

    A cell has value and interval as text; whether it is the best of its column; mark, ▲ or ▼
    where the difference to plain is significant; note, for when the mouse is over it.
    """
    known = tests.set_index(["model", "recognizer"])
    low, high = limits
    rows = {name: [] for name in table.index}
    for (name, r), value in table.stack(future_stack=True).items():
        cell = {"value": f"{value:.1f}", "mark": "", "note": ""}
        cell["interval"] = f"{low.at[name, r]:.1f}–{high.at[name, r]:.1f}"
        cell["best"] = round(value, 1) == round(table[r].max(), 1)
        if (name, r) in known.index:
            difference, p = known.loc[(name, r), ["difference", "p_holm"]]
            cell["mark"] = "" if not p < LEVEL else "▲" if difference > 0 else "▼"
            cell["note"] = f"{difference:+.1f} points against plain, p = {p:.2g} (Holm)"
        rows[name].append(cell)
    return list(rows.items())


def gain_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Points of each trained processor over plain: rows (task, processor), columns
    recognizers."""
    plain, nothing = names.p_model_title(PLAIN), names.p_model_title(NO_PROCESSING)
    parts = {
        names.task_title(task): table.drop([plain, nothing], errors="ignore") - table.loc[plain]
        for task, table in tables.items()
        if plain in table.index
    }
    return pd.concat(parts) if parts else pd.DataFrame()


def examples(evaluations: Sequence[Path], task: str, data: Path) -> dict[str, object] | None:
    """Images that a recognizer gets wrong after plain and right after RA, the first of each class.

    Without labels, its answer to the clean image is right. The recognizer is one that took no part
    in the training where there is one. How often the opposite happens is counted as well (lost).
    """
    runs = {path: read_identity(path) for path in evaluations}
    aware = names.aware(str(one["p_model"]) for one in runs.values())
    found = (p for p, one in runs.items() if (one["task"], one["p_model"]) == (task, aware))
    path = next(found, None)
    identity = runs.get(path, {})
    same = {"task": task, "p_model": PLAIN, "seed": identity.get("seed")}
    plain = next((p for p, other in runs.items() if same.items() <= other.items()), None)
    if path is None or plain is None:
        return None
    before, after = (
        agreement_as_top1(pd.read_csv(p.with_name("images.csv"))) for p in (plain, path)
    )
    columns = [column for column in after if column.endswith(":prediction") and column in before]
    known = [column.removesuffix(":prediction") for column in columns]
    if not known:
        return None
    r = next((r for r in known if r != identity["training_r"]), known[0])
    after["label"] = after.get(f"{r}:clean", after["label"])
    wrong, right = before[f"{r}:top1"] == 0, after[f"{r}:top1"] == 1
    found = after[wrong & right].drop_duplicates("label").head(PICTURES)
    return {
        "task": names.task_title(task),
        "model": f"{names.p_model_title(aware)} (lambda {identity['lambda']:g})",
        "recognizer": names.recognizer_title(r),
        "met": r == identity["training_r"],
        "gained": int((wrong & right).sum()),
        "lost": int((~wrong & ~right).sum()),
        "images": len(after),
        "shown": _pictures(found, before, r, plain, path, data) if len(found) else [],
    }


@torch.inference_mode()
def _pictures(found, before, r: str, plain: Path, aware: Path, data: Path) -> list[dict]:
    """Of each image its label, its pictures as data URIs, and (prediction, right) where there is
    one."""
    split = open_split(data, "val")
    header = read_header(aware.with_name("processor.safetensors"))
    task = build_task(header["task"], **header.get("task_settings", {}))
    processors = [load_processor(p.with_name("processor.safetensors")) for p in (plain, aware)]
    predicted = before.set_index("index")[f"{r}:prediction"]
    shown = []
    for index, label in zip(found["index"], found["label"], strict=True):
        batch = Crops(split, task).__getitems__([(0, VALIDATION, index)]).to(torch.device("cpu"))
        outputs = [processor(batch.input) for processor in processors]
        images = [no_processing(batch.input, task.scale), *outputs, batch.target]
        classes = split.info.classes
        right, wrong = (classes[k] if classes else f"class {k}" for k in (label, predicted[index]))
        shown.append(
            {
                "label": right,
                "pictures": dict(zip(PICTURE_NAMES, map(_data_uri, images), strict=True)),
                "answers": {"Plain": (wrong, False), "RA": (right, True)},
            }
        )
    return shown


def _data_uri(image: Tensor) -> str:
    """(1, 3, H, W) in [0, 1] as a PNG in a URI."""
    buffer = io.BytesIO()
    plots.to_image(image[0]).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def settings_of(evaluations: Sequence[Path]) -> list[dict[str, str]]:
    """How each processor was trained, from the headers of the model files."""
    schedule = ("epochs", "batch_size", "optimizer", "lr", "lr_schedule")
    rows = []
    for model in (path.with_name("processor.safetensors") for path in evaluations):
        if not model.exists():
            continue
        header = read_header(model)
        made = header.get("settings", {})
        title = f"{names.task_title(header['task'])}, {names.p_model_title(header['objective'])}"
        rows.append(
            {
                "P": f"{title}, λ={header['lambda']:g}",
                "training R": names.recognizer_title(header["recognizer"]),
                "seed": header.get("seed", ""),
                "network": " ".join(f"{k}={v}" for k, v in header.get("network", {}).items()),
                "schedule": ", ".join(f"{key} {made[key]}" for key in schedule if key in made),
                "data": str(made.get("data_digest", ""))[:12],
            }
        )
    return rows
