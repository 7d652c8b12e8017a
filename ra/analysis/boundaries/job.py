"""What ``ra boundaries`` does: restore images, ask every R around them, write table and planes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ra.analysis.boundaries.survey import Answers, Survey, similarities, survey_recognizers
from ra.analysis.outputs import draw_images, outputs, shared_task
from ra.errors import UserError
from ra.files import atomic
from ra.jobs.common import Device, Source, judge
from ra.progress import Progress
from ra.runtime.devices import placed


def run_boundaries(
    source: Source,
    plain: Path,
    aware: Path,
    recognizers: Sequence[str],
    survey: Survey,
    images: int,
    planes: int,
    device: Device,
    save_dir: Path,
) -> None:
    """Write pairs.csv (similarity of every pair of R's) and planes.png into ``save_dir``.

    Args:
        plain, aware: processor.safetensors of plain P and of RA P, whose training R is one of
            ``recognizers``.
        recognizers: recognizer.safetensors or a user's YAML files, or names of pretrained R's.
        images: validation images, drawn by the survey's seed.
        planes: of these, how many get a plane; distances and gradients are taken at all.
    """
    headers, task = shared_task([aware, plain], also=["dataset"])
    header = headers[0]
    split = source.open("val")
    with device.use() as where:
        known = dict(judge(name, split.info) for name in recognizers)
        for recognizer in known.values():
            placed(recognizer, where)
        training_r = header["recognizer"]
        if training_r not in known:
            raise UserError(f"--recognizers: {training_r}, with which {aware} was trained, is not")
        if len(known) < 2:
            raise UserError("--recognizers: one R has nothing to be compared with; give two")
        chosen = draw_images(len(split), images, survey.seed)
        parts = list(outputs(split, task, [plain, aware], chosen, where))
        points = [torch.cat([made[k] for _, made in parts]).clone() for k in range(2)]
        label = torch.cat([batch.label for batch, _ in parts]).clone()
        bar = partial(Progress, name="boundaries", unit="R")
        answers = survey_recognizers(known, training_r, *points, label, survey, planes, bar)
    keys = {"dataset": header["dataset"], "task": header["task"], "p_model": header["objective"]}
    keys |= {"lambda": header["lambda"], "training_r": training_r, "seed": header["seed"]}
    table = similarities(answers, survey.seed).assign(**keys)
    with atomic(save_dir / "pairs.csv") as temporary:
        table[[*keys, *table.columns.drop(list(keys))]].to_csv(temporary, index=False)
    moved = (points[1] - points[0]).square().mean(dim=(1, 2, 3)).sqrt().cpu().numpy()
    labels = [split.info.classes[index] for index in label.tolist()]
    write_planes(
        save_dir / "planes.png", answers, points[0].cpu(), labels, moved, survey, split.info.classes
    )


def write_planes(
    path: Path,
    answers: dict[str, Answers],
    images: torch.Tensor,
    labels: Sequence[str],
    moved: np.ndarray,
    survey: Survey,
    classes: Sequence[str],
    rows: int = 4,
) -> None:
    """PNG: a row per image, a column per R, colours are predicted classes.

    Args:
        images: (N, 3, H, W) in [0, 1], plain P's outputs, shown on the left.
        moved: RMS distance of RA P's output from it, the cross on the horizontal axis.
        classes: names of the class indices in ``regions``.
        rows: images shown, of different labels where there are as many; those on whose planes the
            R's see most classes, for on a plane of one colour there is no boundary.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    variety = sum(
        torch.tensor([len(plane.unique()) for plane in of_r.regions]) for of_r in answers.values()
    )
    order = variety.argsort(descending=True, stable=True).tolist()
    seen: Counter[str] = Counter()
    again = {}  # how many of its label come before it
    for index in order:
        again[index] = seen[labels[index]]
        seen[labels[index]] += 1
    shown = sorted(order, key=again.get)[:rows]
    present = torch.cat([of_r.regions[shown].flatten() for of_r in answers.values()]).unique()
    colours = ListedColormap(_colours(len(present)))
    size = (2.2 * (len(answers) + 1) + 1.6, 2.3 * len(shown) + 0.4)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), len(answers) + 1, squeeze=False)
    extent = [side * survey.radius for side in (-1, 1, -1, 1)]
    for axes, index in zip(grid, shown, strict=True):
        axes[0].imshow(images[index].clamp(0, 1).permute(1, 2, 0).numpy())
        axes[0].set_title(labels[index], fontsize=8)
        axes[0].axis("off")
        for plot, (name, of_r) in zip(axes[1:], answers.items(), strict=True):
            codes = torch.searchsorted(present, of_r.regions[index]).numpy()
            limits = {"vmin": -0.5, "vmax": len(present) - 0.5, "origin": "lower"}
            plot.imshow(codes, cmap=colours, extent=extent, interpolation="nearest", **limits)
            plot.plot(0, 0, "ko", markersize=4)
            plot.plot(moved[index], 0, "kx", markersize=6)
            plot.set_title(name, fontsize=8)
            plot.tick_params(labelsize=6)
    legend = [
        Patch(color=colours(code), label=classes[index])
        for code, index in enumerate(present.tolist())
    ]
    figure.legend(handles=legend, loc="outside right upper", fontsize=7)
    figure.supxlabel("towards the output of RA P (cross); RMS, full range is 1", fontsize=8)
    figure.supylabel("random orthogonal direction", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary)


def _colours(count: int) -> list:
    from matplotlib import colormaps

    if count <= 20:
        return list(colormaps["tab20"].colors[:count])
    return [colormaps["nipy_spectral"](k / (count - 1)) for k in range(count)]
