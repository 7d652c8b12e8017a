"""A detail of a photograph, and the input that each task makes of it.

python tools/degradations.py docs/degradations.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from photographs import photograph

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.files import atomic
from ra.inference.process import to_bytes, to_tensor

BLIND = [{"blur": {"sigma": 2}}, {"sr": {"factor": 4}}, {"dn": {"sigma": 0.05}}, {"jpeg": {}}]
TASKS = {name: {} for name in ("sr", "dn", "jpeg", "webp", "blur")} | {"chain": {"steps": BLIND}}
CENTRE, SIDE = (112, 245), 96  # of chelsea, px; the detail is shown three times as large


def pictures() -> dict[str, object]:
    """uint8 pictures by title: the clean detail, then a task's input at the size of the target."""
    row, column = (centre - SIDE // 2 for centre in CENTRE)
    pixels = photograph("chelsea")[row : row + SIDE, column : column + SIDE]
    found, clean = {"clean": pixels}, to_tensor(pixels)
    for name, settings in TASKS.items():
        task = build_task(name, **settings)
        degraded = task.degrade(clean, [(0, VALIDATION, 0)])
        degraded = degraded if degraded.is_floating_point() else degraded.float() / 255
        found[name] = to_bytes(no_processing(degraded, task.scale))
    return found


def main(out: Path) -> None:
    """Write the picture."""
    shown = pictures()
    figure = Figure(figsize=(2.1 * len(shown), 2.4), dpi=100, layout="tight")
    for axes, (title, pixels) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    with atomic(out) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, format="png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
