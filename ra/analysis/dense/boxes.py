"""Pictures of clean, degraded and processed images with the boxes that a detector finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ra.analysis.dense.detector import Objects
from ra.reporting.plots import panels, save

LEAST_SCORE = 0.5  # of a drawn box


def write_boxes(
    path: Path,
    shown: dict[str, Tensor],
    found: dict[str, list[Objects]],
    truth: list[Objects],
    titles: dict[str, str],
    classes: Sequence[str],
) -> None:
    """PNG: a row per kind of image, an image a column; true boxes are thin and white.

    Args:
        shown: the first images of each kind, (n, 3, H, W) in [0, 1].
        found: detections of every image of each kind.
        truth: objects of every image.
        titles: of each kind.
        classes: names in the order of labels, from 1.
    """
    columns = len(next(iter(shown.values())))
    figure, drawn = panels(columns, width=2.4, height=2.5, rows=len(shown))
    cells = iter(drawn)
    for kind, images in shown.items():
        for number, image in enumerate(images):
            axes = next(cells)
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set(xticks=[], yticks=[], ylabel="" if number else titles[kind])
            axes.yaxis.label.set_fontsize(7)
            for box in truth[number]["boxes"].tolist():
                axes.add_patch(_frame(box, "white", 0.8))
            parts = (found[kind][number][key].tolist() for key in ("boxes", "labels", "scores"))
            for box, label, score in zip(*parts, strict=True):
                if score >= LEAST_SCORE:
                    colour = f"C{label % 10}"
                    axes.add_patch(_frame(box, colour, 1.6))
                    look = {"fontsize": 6, "color": "white", "backgroundcolor": colour}
                    axes.text(*box[:2], f"{classes[label - 1]} {score:.2f}", **look)
    save(figure, path)


def _frame(box: list[float], colour: str, width: float):
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    look: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": width}
    return Rectangle((left, top), right - left, bottom - top, **look)
