"""Pictures of results: visual strips and accuracy matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ra.files import atomic

if TYPE_CHECKING:  # a table needs no torch
    from torch import Tensor

TILE = 192  # side of a magnified image in a strip, in pixels
MARGIN = 6


def write_strip(path: Path, strips: tuple[Tensor, Tensor, Tensor]) -> None:
    """PNG with one column per image and the rows input, output, target, magnified.

    Args:
        strips: (input, output, target), each float (n, 3, h, w) in [0, 1]. Pixels are repeated,
            never smoothed, so that what is seen is what R gets.
    """
    label = 70
    count = len(strips[0])
    size = (label + count * (TILE + MARGIN), 3 * (TILE + MARGIN))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for row, (name, images) in enumerate(zip(("input", "output", "target"), strips, strict=True)):
        top = row * (TILE + MARGIN)
        draw.text((MARGIN, top + TILE // 2), name, fill="black", font=font)
        for column, image in enumerate(images):
            pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (label + column * (TILE + MARGIN), top))
    with atomic(path) as temporary:
        sheet.save(temporary)


def write_heat_map(
    path: Path, values: pd.DataFrame, title: str, unit: str = "%", names: Sequence[str] = ()
) -> None:
    """PNG of a table as coloured cells with their numbers."""
    # Imported here: only jobs that draw pay for it. The Agg canvas needs no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 + 1.1 * values.shape[1], 1.2 + 0.5 * values.shape[0]), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = values.to_numpy(dtype=float)
    image = axes.imshow(numbers, cmap="viridis", aspect="auto")
    axes.set_xticks(range(values.shape[1]), values.columns, rotation=20, ha="right")
    axes.set_yticks(range(values.shape[0]), values.index)
    middle = (np.nanmin(numbers) + np.nanmax(numbers)) / 2
    for (row, column), number in np.ndenumerate(numbers):
        colour = "black" if number > middle else "white"
        axes.text(column, row, f"{number:.1f}", ha="center", va="center", color=colour)
    axes.set_title(title)
    figure.colorbar(image, label=unit)
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary)
