"""Plots of results as SVG: they scale, their text can be searched, and a page can hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO

import numpy as np
import pandas as pd

# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = ("#999999", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#0072B2", "#F0E442")


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each P model, the same in every plot of a page."""
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def bars(
    tables: Mapping[str, pd.DataFrame],
    limits: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    colours: Mapping[str, str],
) -> str:
    """SVG: a panel per task, a group of bars per R, a bar per P model with its interval.

    Args:
        tables: task -> top-1 (%), rows P models, columns R's.
        limits: task -> (lower, upper), shaped as the tables.
    """
    figure = _figure(10, 2.6 * len(tables) + 0.5)
    panels = figure.subplots(len(tables), 1, squeeze=False)[:, 0]
    for axes, (task, table) in zip(panels, tables.items(), strict=True):
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
                label=name if axes is panels[0] else None,
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            )
        axes.set_xticks(places, table.columns)
        axes.set_ylabel("top-1 (%)")
        axes.set_title(task, loc="left", fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper center", ncols=min(5, len(colours)), frameon=False)
    return _svg(figure, top=1 - 0.45 / figure.get_figheight())


def gains(table: pd.DataFrame) -> str:
    """SVG heat map of differences in points: blue gains, red losses, white none."""
    figure = _figure(max(6.5, 4 + 1.15 * table.shape[1]), 1.2 + 0.42 * len(table))
    axes = figure.add_subplot()
    numbers = table.to_numpy(dtype=float)
    most = max(np.nanmax(np.abs(numbers)), 1.0)  # less than a point has no strong colour
    image = axes.imshow(numbers, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(table.shape[1]), table.columns)
    axes.set_yticks(range(len(table)), [", ".join(map(str, np.atleast_1d(i))) for i in table.index])
    for (row, column), number in np.ndenumerate(numbers):
        shade = "white" if abs(number) > 0.6 * most else "black"
        text = "" if np.isnan(number) else f"{number:+.1f}"
        axes.text(column, row, text, ha="center", va="center", color=shade)
    figure.colorbar(image, label="points of top-1 over plain")
    return _svg(figure)


def plane(points: pd.DataFrame, colours: Mapping[str, str]) -> str:
    """SVG: a panel per task, PSNR (dB) against the mean top-1 (%) of all R's, a point per P model.

    Args:
        points: columns task, model, psnr, top1.
    """
    tasks = list(points.task.unique())
    figure = _figure(10, 3.6)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        for row in points[points.task == task].itertuples():
            label = row.model if axes is panels[0] else None
            axes.plot(row.psnr, row.top1, "o", ms=9, color=colours[row.model], label=label)
        axes.margins(0.15)
        axes.set_title(task, loc="left", fontweight="bold")
        axes.set_xlabel("PSNR (dB)")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean top-1 of all R's (%)")
    figure.legend(loc="upper center", ncols=min(5, len(colours)), frameon=False)
    return _svg(figure, top=0.88)


def _figure(width: float, height: float):
    # Imported here: only jobs that draw pay for it. A Figure of its own needs no screen.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _svg(figure, top: float = 1.0) -> str:
    """The figure as an <svg> element; the same figure gives the same bytes."""
    from matplotlib import rc_context

    figure.tight_layout(rect=(0, 0, 1, top))
    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ra", "font.size": 11}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
