"""Draws the picture of the README from a finished default experiment.

    python tools/first_picture.py [RESULTS] OUT.png

Columns are validation tiles; rows are the low-resolution input, the outputs of the plain and of the
recognition-aware processor, and the clean tile. Under each is the answer of a recognizer with which
no processor was trained, as ``ra evaluate`` wrote it. ``choose`` has the rule that picks the tiles,
which the picture repeats: gains and losses appear in the proportion in which they occur.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ra.data.degradations import VALIDATION, build_task
from ra.data.splits import Crops, open_split
from ra.errors import UserError
from ra.files import atomic
from ra.models.checkpoints import load_processor, read_header

TASK, TRAINED_WITH, UNSEEN = "sr", "resnet18", ("densenet121", "DenseNet-121")
LAMBDA = 0.0005  # of config.yaml; `snakemake analysis` puts others beside it
COLUMNS = 5
FLAT = 25  # grey levels; a tile whose standard deviation is lower shows a reader nothing
RULE = """\
Answers of {}, with which no processor was trained, and its probability for the right
class. Tiles: those in which it changes most, one a class, without flat ones; gains and losses
get columns in proportion to their number."""
RIGHT, WRONG = "#1a7f37", "#b3261e"


def choose(
    plain: pd.DataFrame, aware: pd.DataFrame, recognizer: str, contrast: np.ndarray
) -> tuple[list[int], list[int], int, int]:
    """(gains to draw, losses to draw, number of gains, number of losses).

    A gain is a tile that the recognizer gets wrong after the plain processor and right after the
    recognition-aware one; a loss is the reverse. Of COLUMNS columns, gains and losses get their
    share, each at least one. Within each, the tile in which the probability of the right class
    changes most comes first; flat tiles are left out, and no class comes twice.

    Args:
        plain, aware: ``images.csv`` of the two processors, with the same rows.
        contrast: standard deviation of each clean tile, in grey levels.
    """
    change = probability(aware, recognizer) - probability(plain, recognizer)
    difference = aware[f"{recognizer}:top1"] - plain[f"{recognizer}:top1"]
    gains, losses = change[difference > 0], -change[difference < 0]
    if gains.empty or losses.empty:
        raise UserError("the processors differ in one direction only; nothing fair to draw")
    count = round(COLUMNS * len(gains) / (len(gains) + len(losses)))
    count = min(max(count, 1), COLUMNS - 1)
    drawn: list[list[int]] = []
    for group, wanted in ((gains, count), (losses, COLUMNS - count)):
        ordered = group[contrast[group.index] >= FLAT].sort_values(ascending=False, kind="stable")
        labels = plain.loc[ordered.index, "label"]
        fresh = labels[
            ~labels.isin(plain.loc[[*chain.from_iterable(drawn)], "label"])
        ].drop_duplicates()
        drawn.append(fresh.index[:wanted].tolist())
    return drawn[0], drawn[1], len(gains), len(losses)


def probability(images: pd.DataFrame, recognizer: str) -> pd.Series:
    """Probability of the right class, in percent, from the cross-entropy."""
    return 100 * np.exp(-images[f"{recognizer}:recognition_loss"])


def find(results: Path) -> dict[str, Path]:
    """Folders of the three evaluations of TASK, by row title."""
    base = results / "embedded" / TASK
    found = {}
    for title, pattern in (
        ("Low resolution", "no_processing"),
        ("Plain", "plain/l0/none/seed0"),
        ("Recognition-\naware", f"ra/l{LAMBDA:g}/{TRAINED_WITH}/seed0"),
    ):
        folders = sorted(base.glob(f"{pattern}/images.csv"))
        if not folders:
            raise UserError(f"{base / pattern}: no images.csv; run the default experiment first")
        found[title] = folders[0].parent
    return found


def pictures(split, folders: list[Path], rows: list[int]) -> list[torch.Tensor]:
    """Input, both outputs and target of validation tiles; each float (n, 3, H, W) in [0, 1]."""
    stored = read_header(folders[1] / "processor.safetensors")
    task = build_task(stored["task"], **stored["task_settings"])
    batch = (
        Crops(split, task)
        .__getitems__([(0, VALIDATION, row) for row in rows])
        .to(torch.device("cpu"))
    )
    with torch.inference_mode():
        outputs = [
            load_processor(folder / "processor.safetensors").eval()(batch.input).clamp(0, 1)
            for folder in folders[1:]
        ]
    return [batch.input, *outputs, batch.target]


def caption(images: pd.DataFrame, row: int, names: list[str]) -> tuple[str, str]:
    """The answer to a tile with the probability of the right class, and its colour."""
    answer = images.loc[row, f"{UNSEEN[0]}:prediction"]
    right = answer == images.loc[row, "label"]
    share = f"right class: {probability(images, UNSEEN[0])[row]:.0f} %"
    return f"{'✓' if right else '✗'} {names[answer]}\n{share}", RIGHT if right else WRONG


def draw(results: Path, out: Path) -> None:
    """Write the picture as PNG, 1600 px wide: to be shown at 800."""
    folders, (recognizer, shown) = find(results), UNSEEN
    tables = [pd.read_csv(folder / "images.csv") for folder in folders.values()]
    split = open_split(results / "embedded" / "data", "val")
    contrast = np.array([split.image(row).std() for row in range(len(split))])
    won, lost, gains, losses = choose(tables[1], tables[2], recognizer, contrast)
    rows = won + lost
    names = [name.replace("_", " ") for name in split.info.classes]
    images = pictures(split, list(folders.values()), rows)

    figure = Figure(figsize=(8, 7.4), dpi=200)
    FigureCanvasAgg(figure)
    grid = figure.subplots(
        4, len(rows), gridspec_kw={"left": 0.135, "right": 0.99, "top": 0.93, "bottom": 0.125}
    )
    figure.subplots_adjust(wspace=0.08, hspace=0.36)
    small, large = (f"{side.shape[-1]}x{side.shape[-2]} px" for side in (images[0], images[-1]))
    titles = [*folders, "Clean"]
    titles[0], titles[-1] = f"{titles[0]}\n{small}", f"Clean\n{large}"
    for line, (title, part) in enumerate(zip(titles, images, strict=True)):
        for axes, row, image in zip(grid[line], rows, part, strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            text, colour = names[tables[0].loc[row, "label"]], "black"
            if line < len(tables):
                text, colour = caption(tables[line], row, names)
            axes.set_xlabel(text, fontsize=8.5, color=colour, labelpad=3)
        grid[line][0].set_ylabel(
            title, rotation=0, ha="right", va="center", fontsize=9.5, labelpad=6
        )
    for first, last, title in (
        (0, len(won) - 1, f"only recognition-aware is right: {gains} of {len(split)} tiles"),
        (len(won), len(rows) - 1, f"only plain is: {losses}"),
    ):
        left, right = grid[0][first].get_position().x0, grid[0][last].get_position().x1
        figure.text((left + right) / 2, 0.967, title, ha="center", fontsize=10)
        rule = Line2D([left, right], [0.955, 0.955], color="black", linewidth=0.8)
        figure.add_artist(rule)
    figure.text(0.01, 0.015, RULE.format(shown), fontsize=8.5, linespacing=1.4)
    with atomic(out) as temporary:
        figure.savefig(temporary)


if __name__ == "__main__":
    *given, target = sys.argv[1:]
    draw(Path(given[0] if given else "results"), Path(target))
