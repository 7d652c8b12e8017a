"""What a detector sees in clean, degraded and restored images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ra.analysis.dense.table import title_of
from ra.analysis.dense.voc import DetectionCrops
from ra.data.degradations import no_processing
from ra.data.splits import validation_keys
from ra.files import atomic

SHOWN = 0.5  # least score of a drawn box


@torch.inference_mode()
def write_detections(
    path: Path,
    crops: DetectionCrops,
    found: dict[str, list[dict[str, Tensor]]],
    named: dict[str, dict],
    processors: dict,
    scale: int,
    images: int = 4,
) -> None:
    """PNG: a row per kind of image (clean, no processing, each P), the first images as columns,
    with the boxes of at least SHOWN score; true boxes are thin and white.

    Args:
        found: detections of every image by kind, in the split's order.
        named: identity of each kind.
        processors: P by kind; None is no processing, and ``clean`` has none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images = min(images, len(crops))
    batch = crops.__getitems__(validation_keys(images, images)[0]).to(torch.device("cpu"))
    names = crops.images.classes
    figure = Figure(figsize=(2.4 * images + 1, 2.5 * len(found)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(found), images, squeeze=False)
    for row, (kind, detections) in zip(grid, found.items(), strict=True):
        if kind == "clean":
            shown = batch.target
        elif processors[kind] is None:
            shown = no_processing(batch.input, scale)
        else:
            shown = processors[kind].cpu()(batch.input)
        for axes, image, mine, real in zip(row, shown, detections, batch.objects, strict=False):
            axes.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy())
            axes.set_xticks([])
            axes.set_yticks([])
            for box in real["boxes"].tolist():
                axes.add_patch(_frame(box, "white", 0.8))
            for box, label, score in zip(
                *(mine[key].tolist() for key in ("boxes", "labels", "scores")), strict=True
            ):
                if score >= SHOWN:
                    colour = f"C{label % 10}"
                    axes.add_patch(_frame(box, colour, 1.6))
                    text = f"{names[label - 1]} {score:.2f}"
                    axes.text(
                        box[0], box[1], text, fontsize=6, color="white", backgroundcolor=colour
                    )
        row[0].set_ylabel(title_of(named[kind]), fontsize=7)
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _frame(box: list[float], colour: str, width: float):
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    options = {"fill": False, "edgecolor": colour, "linewidth": width}
    return Rectangle((left, top), right - left, bottom - top, **options)
