"""Plots and pictures. matplotlib is imported in the functions: only jobs that draw pay for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ra.files import atomic
from ra.reporting.names import measure_title, task_title

if TYPE_CHECKING:  # a table needs no torch
    from torch import Tensor

TILE = 192  # side of a magnified image in a strip, in pixels
MARGIN = 6
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


def bars(
    tables: Mapping[str, pd.DataFrame],
    limits: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    measure: str,
) -> str:
    """SVG: a panel per task, a group of bars per recognizer, a bar per processor with interval.

    Args:
        tables: task -> ``measure`` (%), rows processors, columns recognizers.
        limits: task -> (lower, upper), shaped as the tables.
    """
    colours = _colours(tables)
    figure, drawn = panels(1, 10, 2.6 + 0.5 / len(tables), rows=len(tables))
    for axes, (task, table) in zip(drawn, tables.items(), strict=True):
        width = min(0.8 / len(table), 0.2)
        places = np.arange(table.shape[1])
        low, high = (limit.to_numpy(dtype=float) for limit in limits[task])
        for row, name in enumerate(table.index):
            values = table.iloc[row].to_numpy(dtype=float)
            error = np.clip(np.stack([values - low[row], high[row] - values]), 0, None)
            axes.bar(
                places + (row - (len(table) - 1) / 2) * width,
                values,
                width,
                yerr=error,
                color=colours[name],
                label=name if axes is drawn[0] else None,
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            )
        axes.set_xticks(places, table.columns)
        axes.set_ylabel(f"{measure} (%)")
        _plain_axes(axes, task)
    figure.legend(loc="outside upper center", ncols=min(5, len(colours)), frameon=False)
    return _svg(figure)


def plane(tables: Mapping[str, pd.DataFrame], quality: pd.DataFrame, measure: str) -> str:
    """SVG: a panel per task, PSNR against the mean ``measure`` of all recognizers.

    Args:
        tables: task -> ``measure`` (%), rows processors, columns recognizers.
        quality: the image-quality table, with rows (task, processor).
    """
    colours = _colours(tables)
    psnr = quality[measure_title("psnr")]
    figure, drawn = panels(len(tables), 10 / len(tables), 3.6)
    for axes, (task, table) in zip(drawn, tables.items(), strict=True):
        for name, share in table.mean(axis=1).items():
            look = {"ms": 9, "color": colours[name], "label": name if axes is drawn[0] else None}
            axes.plot(psnr[task_title(task), name], share, "o", **look)
        axes.margins(0.15)
        axes.set_xlabel("PSNR (dB)")
        axes.grid(alpha=0.3)
        _plain_axes(axes, task)
    drawn[0].set_ylabel(f"mean {measure} of all recognizers (%)")
    figure.legend(loc="outside upper center", ncols=min(5, len(colours)), frameon=False)
    return _svg(figure)


def _colours(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """A colour for each processor, the same in every plot of a page."""
    names = dict.fromkeys(name for table in tables.values() for name in table.index)
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def _plain_axes(axes, task: str) -> None:
    axes.set_title(task_title(task), loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def gains(table: pd.DataFrame, measure: str) -> str:
    """SVG heat map of differences in points: blue gains, red losses, white none."""
    figure, (axes,) = panels(1, max(6.5, 4 + 1.15 * table.shape[1]), 1.2 + 0.42 * len(table))
    most = max(np.nanmax(np.abs(table.to_numpy(dtype=float))), 1.0)  # weak below a point
    names = [", ".join(map(str, np.atleast_1d(name))) for name in table.index]
    look = {"cmap": "RdBu", "vmin": -most, "vmax": most}
    image = _matrix(axes, table, names, "+.1f", lambda v: abs(v) > 0.6 * most, look)
    figure.colorbar(image, label=f"points of {measure} over plain")
    return _svg(figure)


def write_heat_map(path: Path, table: pd.DataFrame, title: str) -> None:
    """PNG of a table of percentages as coloured cells with their numbers."""
    longest = max(len(str(name)) for name in table.index)
    width, height = 1.6 + 0.08 * longest + 1.1 * table.shape[1], 1.2 + 0.5 * len(table)
    figure, (axes,) = panels(1, width, height)
    numbers = table.to_numpy(dtype=float)
    middle = (np.nanmin(numbers) + np.nanmax(numbers)) / 2
    image = _matrix(axes, table, table.index, ".1f", lambda v: v <= middle, {"cmap": "viridis"})
    axes.tick_params("x", rotation=20)
    axes.set_title(title)
    figure.colorbar(image, label="%")
    save(figure, path)


def _matrix(axes, table, names, style: str, dark: Callable[[float], bool], look: dict):
    """Coloured cells with numbers, white on ``dark`` ones; returns the image for a colour bar."""
    numbers = table.to_numpy(dtype=float)
    image = axes.imshow(numbers, aspect="auto", **look)
    axes.set_xticks(range(table.shape[1]), table.columns)
    axes.set_yticks(range(len(table)), names)
    for (row, column), number in np.ndenumerate(numbers):
        if not np.isnan(number):
            colour = "white" if dark(number) else "black"
            text = f"{number:{style}}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    return image


def write_strip(path: Path, strips: tuple[Tensor, ...]) -> None:
    """PNG with one column per image and the rows input, output, target, magnified.

    Args:
        strips: (input, output, target) or the first two, each float (n, 3, h, w) in [0, 1]. Pixels
            are repeated, never smoothed: they are what a recognizer gets.
    """
    label = 70
    size = (label + len(strips[0]) * (TILE + MARGIN), len(strips) * (TILE + MARGIN))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for row, (name, images) in enumerate(zip(("input", "output", "target"), strips, strict=False)):
        top = row * (TILE + MARGIN)
        draw.text((MARGIN, top + TILE // 2), name, fill="black", font=font)
        for column, image in enumerate(images):
            tile = to_image(image).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (label + column * (TILE + MARGIN), top))
    with atomic(path) as temporary:
        sheet.save(temporary)


def to_image(image: Tensor) -> Image.Image:
    """Float (3, H, W), clamped to [0, 1], as 8 bits."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
