"""Plots and pictures. matplotlib is imported in the functions: only jobs that draw pay for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ra.files import atomic
from ra.reporting.names import CLEAN, NO_PROCESSING, PLAIN, UNTRAINED, p_model_title, task_title

if TYPE_CHECKING:  # a table needs no torch
    from torch import Tensor

TILE = 192  # side of a magnified image in a strip, in pixels
MARGIN = 6
WIDTH = 4.4  # inches of a panel; at that size a phone shows it
# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = ("#999999", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#0072B2", "#F0E442")


def panels(columns: int, width: float, height: float, rows: int = 1):
    """(figure, list of axes, row by row): panels of ``width`` x ``height`` inches."""
    from matplotlib.figure import Figure

    # A Figure of its own, unlike pyplot's, needs no screen.
    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure, path: Path) -> None:
    """Write ``figure`` as the suffix of ``path`` says, whole or not at all."""
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _svg(figure) -> str:
    """The figure as an <svg> element: it scales, its text can be searched, and a page can hold it.
    The same figure gives the same bytes."""
    from matplotlib import rc_context

    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ra", "font.size": 11}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def gains(tables: Mapping[str, pd.DataFrame], measure: str) -> str:
    """SVG: a panel per task, for each recognizer a dot with interval per processor, filled where
    the recognizer trained it; points of ``measure`` over plain.

    Args:
        tables: task -> rows with model, recognizer, difference, low, high and met (trained it).
    """
    looks = _looks(name for table in tables.values() for name in table.model)
    most = max(len(table) + table.recognizer.nunique() for table in tables.values())
    figure, drawn = panels(len(tables), WIDTH, 1.4 + 0.13 * most)
    for axes, (task, table) in zip(drawn, tables.items(), strict=True):
        models, recognizers = list(table.model.unique()), list(table.recognizer.unique())
        known = table[table.model != UNTRAINED[NO_PROCESSING]]
        nothing = table.drop(known.index).difference
        for row in known.itertuples():
            _spot(axes, row, -recognizers.index(row.recognizer), models, looks)
        ends = axes.get_xlim()
        for row in table.loc[nothing.index].itertuples() if _near(nothing, *ends) else ():
            _spot(axes, row, -recognizers.index(row.recognizer), models, looks)
        axes.axvline(0, color="black", lw=0.8)
        for place in range(1, len(recognizers)):
            axes.axhline(0.5 - place, color="#cccccc", lw=0.6)
        axes.set_yticks([-place for place in range(len(recognizers))], recognizers)
        axes.set_ylim(0.5 - len(recognizers), 0.5)
        axes.set_xlabel(f"points of {measure} over plain")
        axes.grid(axis="x", alpha=0.3)
        _plain_axes(axes, task)
    return _with_legend(figure, looks, len(tables))


def _spot(axes, row, group: float, models: Sequence[str], looks: Mapping) -> None:
    marker, colour = looks[row.model]
    if row.model == UNTRAINED[CLEAN]:  # the ceiling of all
        axes.vlines(row.difference, group - 0.45, group + 0.45, colour, "--", lw=1.2)
        return
    place = group + 0.4 - 0.8 * (models.index(row.model) + 0.5) / len(models)
    if row.low == row.low:  # NaN where it was not tested
        axes.plot([row.low, row.high], [place, place], color=colour, lw=1.2)
    fill = colour if row.met or marker == "x" else "white"
    axes.plot(row.difference, place, marker, ms=6, mec=colour, mfc=fill, mew=1.4)


def plane(tables: Mapping[str, pd.DataFrame], measure: str) -> str:
    """SVG: a panel per task, PSNR against mean ``measure``, an arrow from plain to each processor.

    Args:
        tables: task -> rows processors; x (PSNR, dB), y (%), and the ends of their intervals,
            x_low, x_high, y_low, y_high. Clean images have no PSNR and are a line.
    """
    looks = _looks(name for table in tables.values() for name in table.index)
    figure, drawn = panels(len(tables), WIDTH, 3.8)
    nothing, clean, plain = (p_model_title(name) for name in (NO_PROCESSING, CLEAN, PLAIN))
    for axes, (task, table) in zip(drawn, tables.items(), strict=True):
        for name, row in table.drop([nothing, clean], errors="ignore").iterrows():
            _cross(axes, row, looks[name])
            if plain in table.index and name != plain:
                arrow = {"arrowstyle": "->", "color": looks[name][1], "lw": 1.5}
                begin = tuple(table.loc[plain, ["x", "y"]])
                axes.annotate("", (row.x, row.y), begin, arrowprops=arrow)
        for row in table[table.index == clean].itertuples():
            axes.axhline(row.y, color="black", lw=1, ls="--")
            axes.annotate(clean, (0.01, row.y), xycoords=("axes fraction", "data"), va="bottom")
        none = table[table.index == nothing]
        near = _near(none.x, *axes.get_xlim()) and _near(none.y, *axes.get_ylim())
        for _, row in none.iterrows():
            if near:
                _cross(axes, row, looks[nothing])
            else:
                text = f"{nothing}: {row.x:.1f} dB, {row.y:.1f} %"
                axes.annotate(text, (0.02, 0.03), xycoords="axes fraction")
        axes.set_xlabel("PSNR (dB)")
        axes.grid(alpha=0.3)
        _plain_axes(axes, task)
    drawn[0].set_ylabel(f"mean {measure} (%)")
    return _with_legend(figure, looks, len(tables))


def _cross(axes, row, look: tuple[str, str]) -> None:
    arms = [[row[a] - row[f"{a}_low"], row[f"{a}_high"] - row[a]] for a in "yx"]
    up, across = np.clip(arms, 0, None)[..., None]
    axes.errorbar(row.x, row.y, up, across, look[0], color=look[1], ms=7, elinewidth=0.7)


def _looks(found: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Marker and colour of each processor, the same in every plot of a page; markers differ, so
    that a plot can be read without colours."""
    fixed = {CLEAN: ("|", "black"), NO_PROCESSING: ("x", "#666666"), PLAIN: ("P", COLOURS[6])}
    known = {p_model_title(name): look for name, look in fixed.items()}
    found = list(dict.fromkeys(found))
    others = zip(cycle("os^Dv<>"), cycle(COLOURS[2:6]))
    return {name: known.get(name) or next(others) for name in found}


def _near(values: pd.Series, low: float, high: float) -> bool:
    """Whether they lie so near to an axis that they can be shown without hiding the rest."""
    return bool(values.between(2 * low - high, 2 * high - low).all())


def _with_legend(figure, looks: Mapping[str, tuple[str, str]], columns: int) -> str:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker=marker, color=colour, label=name)
        for name, (marker, colour) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 * columns, frameon=False)
    return _svg(figure)


def _plain_axes(axes, task: str) -> None:
    axes.set_title(task_title(task), loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def write_heat_map(path: Path, table: pd.DataFrame, title: str, unit: str = "%") -> None:
    """PNG of a table in ``unit`` as coloured cells with their numbers; a frame where row and column
    are the same recognizer."""
    longest = max(len(str(name)) for name in table.index)
    width, height = 1.6 + 0.08 * longest + 1.1 * table.shape[1], 1.2 + 0.5 * len(table)
    figure, (axes,) = panels(1, width, height)
    numbers = table.to_numpy(dtype=float)
    middle = (np.nanmin(numbers) + np.nanmax(numbers)) / 2
    image = axes.imshow(numbers, aspect="auto", cmap="viridis")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=20)
    axes.set_yticks(range(len(table)), table.index)
    for (row, column), number in np.ndenumerate(numbers):
        if not np.isnan(number):
            look: dict[str, Any] = {
                "color": "white" if number <= middle else "black",
                "ha": "center",
            }
            if table.index[row] == table.columns[column]:
                look["bbox"] = {"fill": False, "edgecolor": look["color"]}
            axes.text(column, row, f"{number:.1f}", va="center", **look)
    axes.set_title(title)
    figure.colorbar(image, label=unit)
    save(figure, path)


def write_strip(path: Path, strips: Mapping[str, Tensor]) -> None:
    """PNG with one column per image and the rows of ``strips``, each beside its title, magnified.

    Args:
        strips: title -> float (n, 3, h, w) in [0, 1]. Pixels are repeated, never smoothed: they are
            what a recognizer gets.
    """
    font = ImageFont.load_default(size=18)
    label = 2 * MARGIN + max(int(font.getlength(title)) for title in strips)
    count = len(next(iter(strips.values())))
    size = (label + count * (TILE + MARGIN), len(strips) * (TILE + MARGIN))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, images) in enumerate(strips.items()):
        top = row * (TILE + MARGIN)
        draw.text((MARGIN, top + TILE // 2), title, fill="black", font=font)
        for column, image in enumerate(images):
            tile = to_image(image).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (label + column * (TILE + MARGIN), top))
    with atomic(path) as temporary:
        sheet.save(temporary)


def to_image(image: Tensor) -> Image.Image:
    """Float (3, H, W), clamped to [0, 1], as 8 bits."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
