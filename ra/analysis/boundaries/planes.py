"""Planes of image space, coloured by the class that each recognizer predicts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ra.analysis.boundaries.survey import Surroundings
from ra.reporting.plots import panels, save


def write_planes(
    path: Path,
    found: dict[str, Surroundings],
    images: Tensor,
    moved: Tensor,
    labels: Sequence[int],
    classes: Sequence[str],
    radius: float,
    rows: int = 4,
) -> None:
    """PNG: a row per image, a column per recognizer; colours are predicted classes.

    Args:
        images: (N, 3, H, W) in [0, 1], outputs of the plain processor, shown on the left.
        moved: RMS distance (N,) of the recognition-aware output, the cross on the horizontal axis.
        labels: class index of each image.
        classes: names of the class indices.
        radius: half a plane's side, RMS.
        rows: images shown.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    shown = _varied(found, labels)[:rows]
    present = torch.cat([one.regions[shown].flatten() for one in found.values()]).unique()
    colours = colormaps["tab20" if len(present) <= 20 else "nipy_spectral"].resampled(len(present))
    figure, drawn = panels(len(found) + 1, width=2.2, height=2.3, rows=len(shown))
    axes = iter(drawn)
    for index in shown:
        picture = next(axes)
        picture.imshow(images[index].clamp(0, 1).permute(1, 2, 0).numpy())
        picture.set_title(classes[labels[index]], fontsize=8)
        picture.axis("off")
        for name, one in found.items():
            plane = next(axes)
            codes = torch.searchsorted(present, one.regions[index]).numpy()
            extent = [side * radius for side in (-1, 1, -1, 1)]
            limits = {"vmin": -0.5, "vmax": len(present) - 0.5, "origin": "lower"}
            plane.imshow(codes, cmap=colours, extent=extent, interpolation="nearest", **limits)
            plane.plot(0, 0, "ko", markersize=4)
            plane.plot(moved[index], 0, "kx", markersize=6)
            plane.set_title(name, fontsize=8)
            plane.tick_params(labelsize=6)
    legend = [Patch(color=colours(code), label=classes[k]) for code, k in enumerate(present)]
    figure.legend(handles=legend, loc="outside right upper", fontsize=7)
    figure.supxlabel("to the recognition-aware output (cross); RMS, full range is 1", fontsize=8)
    figure.supylabel("random orthogonal direction", fontsize=8)
    save(figure, path)


def _varied(found: dict[str, Surroundings], labels: Sequence[int]) -> list[int]:
    """Images by the number of classes on their planes, those with different labels first.

    A plane of one colour shows no boundary.
    """
    colours = [[len(plane.unique()) for plane in one.regions] for one in found.values()]
    order = torch.tensor(colours).sum(0).argsort(descending=True, stable=True).tolist()
    seen: Counter[int] = Counter()
    repeats = {}  # how many images of the same label precede this one
    for index in order:
        repeats[index] = seen[labels[index]]
        seen[labels[index]] += 1
    return sorted(order, key=repeats.get)
