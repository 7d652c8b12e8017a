"""Plots the accuracies in the tables of docs/evidence.md, with the range of the seeds.

python tools/evidence_plot.py docs/evidence.png
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ra.files import atomic

PAGE = Path(__file__).parents[1] / "docs/evidence.md"
TASKS = {"sr": "Super-resolution", "dn": "Denoising", "jpeg": "JPEG deblocking"}
ROWS = {"No Processing": "s", "Plain Processing": "o", "RA Processing": "D"}


def accuracies(page: str, task: str) -> dict[str, list[list[float]]]:
    """[mean, lowest, highest of the seeds] of each recognizer, by row; what has no seed has one
    number, which is all three."""
    table = re.search(rf"<!-- table evidence_{task} .*?<!-- end -->", page, re.S)[0]
    found = {}
    for row in ROWS:
        (line,) = re.findall(rf"^\| {row} \|.*", table, re.M)
        cells = re.findall(r"[\d.]+(?: \([\d.]+ to [\d.]+\))?(?= \|)", line)[-3:]
        found[row] = [([*map(float, re.findall(r"[\d.]+", cell))] * 3)[:3] for cell in cells]
    return found


def clean(page: str) -> list[float]:
    """Accuracy of each recognizer on the clean photographs."""
    (sentence,) = re.findall(r"Clean photographs: ([^;]*?)\.\s", page)
    return [float(number) for number in re.findall(r"Lite\d ([\d.]+)", sentence)]


def main(out: Path) -> None:
    """Write the picture."""
    page = PAGE.read_text()
    figure = Figure(figsize=(10, 3.6), dpi=100, layout="constrained")
    for axes, (task, title) in zip(figure.subplots(1, 3, sharey=True), TASKS.items(), strict=True):
        for shift, (row, values) in enumerate(accuracies(page, task).items()):
            for place, (value, low, high) in enumerate(values):
                label = row if place == 0 else None
                bars = [[value - low], [high - value]]
                x, colour = place + 0.2 * (shift - 1), f"C{shift}"
                axes.errorbar(x, value, bars, fmt=ROWS[row], color=colour, label=label, capsize=3)
        for place, value in enumerate(clean(page)):
            axes.hlines(
                value, place - 0.35, place + 0.35, "grey", "--", label="_" * place + "clean"
            )
        axes.set_xticks(range(3), ["Lite0\n(training R)", "Lite1", "Lite2"])
        axes.set_title(title)
    figure.axes[0].set_ylabel("top-1, %")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with atomic(out) as temporary:
        FigureCanvasAgg(figure).print_figure(temporary, format="png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
