"""One page for a colleague: a verdict on each task, gains, pictures, tables, and how it was made.

Everything on the page comes from files of the experiment and is embedded in the page.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ra import __version__
from ra.data.dataset import read_info
from ra.evaluation.statistics import LEVEL
from ra.files import write_text
from ra.models.checkpoints import read_header
from ra.reporting import names, plots
from ra.reporting.gains import gain_table, notes, plane_table, read_significance, verdict
from ra.reporting.names import PLAIN, UNTRAINED
from ra.reporting.significance import read_identity
from ra.reporting.tables import (
    accuracy_table,
    bounds,
    columns_of,
    quality_table,
    read_evaluations,
    training_recognizers,
)

EMBEDDED = (
    "A class is a photograph: a recognizer is right about a tile if it names the photograph that "
    "the tile was cut from. Validation tiles come from other parts of the same photographs as the "
    "training tiles."
)


def write_report(
    evaluations: Sequence[Path],
    save_dir: Path,
    data: Path | None = None,
    significance: Path | None = None,
    recognizers: Sequence[str] = (),
) -> None:
    """Write report.html, gains.svg and plane.svg to ``save_dir``.

    Args:
        evaluations: evaluation.csv files; images.csv and processor.safetensors lie beside them.
        data: the prepared data set; without it the page has no pictures.
        significance: significance.csv of ``ra table``; without it gains have no intervals.
        recognizers: columns, in order; empty takes every one that occurs.
    """
    from jinja2 import Environment, StrictUndefined

    tidy = read_evaluations(evaluations)
    recognizers = columns_of(tidy, recognizers)
    tidy = tidy.assign(model=names.model_names(tidy))
    tasks = list(tidy.task.unique())
    tables = {task: accuracy_table(tidy, task, recognizers) for task in tasks}
    limits = {task: bounds(accuracy_table, tidy, task, recognizers) for task in tasks}
    tests, seeds = read_significance(significance), tidy.seed.nunique()
    trained = {key: training_recognizers(rows) for key, rows in tidy.groupby(["task", "model"])}
    gains = gain_table(tables, tests, trained)
    quality, measure = quality_table(tidy), names.measured(tidy.metric)
    edges = bounds(quality_table, tidy)
    title = names.measure_title("psnr")
    psnr = [one[title] for one in (quality, *edges)] if title in quality else []
    runs = pd.DataFrame([{**read_identity(path), "path": path} for path in evaluations])
    runs["model"] = names.model_names(runs)
    of_task = {task: gains[gains.task == task] for task in tasks}
    spots = {t: plane_table(tables[t], limits[t], t, psnr, trained) for t in tasks if psnr}
    pictures = [one for task in tasks if data and (one := _examples(runs, task, data))]
    info = read_info(data) if data else None
    template = files("ra.reporting").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["signed"] = signed
    text = environment.from_string(template).render(
        dataset=", ".join(map(str, tidy.dataset.unique())),
        about=EMBEDDED if info and info.name.startswith("embedded") else "",
        classes=len(info.classes) if info and measure == "top-1" else 0,
        images=int(tidy.n.max()),
        seeds=seeds,
        version=__version__,
        measure=measure,
        verdicts=[v for t in tasks if (v := verdict(t, tables[t], tidy, runs, trained, psnr))],
        recognizers=[names.recognizer_title(name) for name in recognizers],
        tables={
            names.task_title(t): (
                training_recognizers(tidy[tidy.task == t]),
                table_cells(tables[t], limits[t], of_task[t]),
            )
            for t in tasks
        },
        marked=not tests.empty,
        notes=notes(significance),
        level=LEVEL,
        quality=quality.reset_index().to_dict("split"),
        gains=[plots.gains({t: of_task[t]}, measure) for t in tasks if len(of_task[t])],
        planes=[plots.plane({t: spots[t]}, measure) for t in spots],
        photograph=pictures[0].photograph() if pictures else None,
        examples=[part for one in pictures if (part := one.wins_and_losses())],
        settings=settings_of(evaluations),
    )
    empty = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    shown = plots.gains(of_task, measure) if len(gains) else empty
    write_text(save_dir / "gains.svg", shown)
    write_text(save_dir / "plane.svg", plots.plane(spots, measure) if spots else empty)
    write_text(save_dir / "report.html", text)


def signed(number: float, decimals: int = 1) -> str:
    """+1.0 or −1.0, with the sign that is as wide as a plus."""
    return f"{number:+.{decimals}f}".replace("-", "−")


def table_cells(
    table: pd.DataFrame, limits: tuple[pd.DataFrame, pd.DataFrame], gains: pd.DataFrame
) -> list[tuple[str, list[dict[str, object]]]]:
    """(processor, cells) of each row.

    A cell has value and interval as text; whether it is the best of its column, clean images
    apart; and for a processor that was tested the gain over plain with its p, and ▲ or ▼ where
    that is significant.
    """
    known = gains.dropna(subset="p_holm").set_index(["model", "recognizer"])
    rivals = table.drop(UNTRAINED["clean"], errors="ignore").round(1).max()
    low, high = limits
    rows = {name: [] for name in table.index}
    for (name, r), value in table.stack(future_stack=True).items():
        cell = {"value": f"{value:.1f}", "mark": "", "gain": "", "p": ""}
        ends = low.at[name, r], high.at[name, r]
        cell["interval"] = "" if ends[0] != ends[0] else "{:.1f}–{:.1f}".format(*ends)
        cell["best"] = round(value, 1) == rivals[r]
        if (name, r) in known.index:
            difference, p = known.loc[(name, r), ["difference", "p_holm"]]
            cell["mark"] = "" if not p < LEVEL else "▲" if difference > 0 else "▼"
            cell |= {"gain": signed(difference), "p": "<0.001" if p < 0.001 else f"{p:.2g}"}
        rows[name].append(cell)
    return list(rows.items())


def _examples(runs: pd.DataFrame, task: str, data: Path):
    """The first plain and recognition-aware processor of one seed, to show images of; None where
    the task has not both, with their files."""
    from ra.reporting.examples import Examples

    runs = runs[(runs.task == task) & runs.path.map(lambda path: _model(path).exists())]
    aware = runs[runs.p_model == names.aware(runs.p_model)]
    plain = runs[(runs.p_model == PLAIN) & runs.seed.isin(aware.seed[:1])]
    if aware.empty or plain.empty:
        return None
    return Examples(plain.path.iloc[0], aware.path.iloc[0], aware.iloc[0].to_dict(), data)


def _model(evaluation: Path) -> Path:
    return evaluation.with_name("processor.safetensors")


def settings_of(evaluations: Sequence[Path]) -> list[dict[str, str]]:
    """How each processor was trained, from the headers of the model files; a row for its seeds."""
    schedule = ("epochs", "batch_size", "optimizer", "lr", "lr_schedule")
    rows: dict[str, dict[str, str]] = {}
    for model in filter(Path.exists, map(_model, evaluations)):
        header = read_header(model)
        made = header.get("settings", {})
        title = f"{names.task_title(header['task'])}, {names.p_model_title(header['objective'])}"
        row = {
            "P": f"{title}, λ={header['lambda']:g}",
            "training R": names.recognizer_title(header["recognizer"]),
            "network": " ".join(f"{k}={v}" for k, v in header.get("network", {}).items()),
            "schedule": ", ".join(f"{key} {made[key]}" for key in schedule if key in made),
            "data": str(made.get("data_digest", ""))[:12],
        }
        known = rows.setdefault(str(row), row | {"seeds": ""})
        known["seeds"] = ", ".join(filter(None, [known["seeds"], str(header.get("seed", ""))]))
    return list(rows.values())
