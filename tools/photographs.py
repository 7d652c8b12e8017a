"""Restores whole photographs with the sr processors of a finished default experiment.

    python tools/photographs.py [--results RESULTS] [OUT.png]

Each photograph is shrunk as the task does it, and up-scaled again by bicubic interpolation and by
the plain and the recognition-aware processor. RESULTS/tables/photographs.md becomes the table of
docs/photographs.md: PSNR, and the largest difference of a colour channel's mean from the
photograph's. No tile was cut from the photographs of UNSEEN. OUT.png shows those of SHOWN, whose
licences are stated: the whole and a detail, pixel for pixel.
"""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.embedded import PHOTOGRAPHS
from ra.errors import UserError
from ra.files import atomic, write_text
from ra.inference.process import Processor, load, to_bytes, to_tensor

UNSEEN = (
    ("skimage", "data/motorcycle_left.png"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/moon.png"),
    ("skimage", "data/clock_motion.png"),
)
USED = ("chelsea", "coffee", "astronaut", "rocket")
# Name, and centre of the detail as a share of height and width.
SHOWN = {"chelsea": (0.4, 0.45), "coffee": (0.45, 0.6)}
DETAIL = 96  # px, magnified three times
LAMBDA = 0.0005  # of config.yaml for sr; `snakemake analysis` puts others beside it
ROWS = {"plain": "plain/l0/none/seed*", "RA": f"ra/l{LAMBDA:g}/resnet18/seed*"}


def photograph(name: str) -> np.ndarray:
    """uint8 (H, W, 3): a photograph of UNSEEN or of the data set, with sides divisible by 8."""
    paths = {Path(file).stem: (package, file) for package, file in UNSEEN}
    paths |= {one.name: (one.package, one.file) for one in PHOTOGRAPHS}
    package, file = paths[name]
    with (files(package) / file).open("rb") as stream:
        pixels = np.asarray(Image.open(stream).convert("RGB"))
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    return pixels[:height, :width]


def processors(results: Path) -> dict[str, Processor]:
    """The sr processors by row; of several seeds the first."""
    found = {}
    for row, pattern in ROWS.items():
        folders = sorted((results / "embedded/sr").glob(f"{pattern}/processor.safetensors"))
        if not folders:
            raise UserError(f"{results}: no sr processor {pattern}; run the default experiment")
        found[row] = load(folders[0])
    return found


def restore(pixels: np.ndarray, models: dict[str, Processor]) -> dict[str, np.ndarray]:
    """input, bicubic and the output of each model: uint8 (h, w, 3)."""
    stored = next(iter(models.values())).stored
    task = build_task(stored["task"], **stored["task_settings"])
    small = task.degrade(to_tensor(pixels), [(0, VALIDATION, 0)])
    bicubic = to_bytes(no_processing(small.float() / 255, task.scale))
    small = small[0].permute(1, 2, 0).numpy()
    restored = {row: model.pixels(small) for row, model in models.items()}
    return {"input": small, "bicubic": bicubic, **restored}


def scores(pixels: np.ndarray, outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """PSNR (dB) and colour difference (grey levels) of every output but the input."""
    found = {}
    for row in list(outputs)[1:]:
        error = outputs[row].astype(float) - pixels
        found[f"{row} (dB)"] = 20 * np.log10(255 / np.sqrt(np.square(error).mean()))
    for row in list(outputs)[1:]:
        error = outputs[row].astype(float) - pixels
        found[f"{row} (colour)"] = np.abs(error.mean(axis=(0, 1))).max()
    return found


def table(models: dict[str, Processor]) -> pd.DataFrame:
    """One row a photograph: those that gave no tile, then those that gave some."""
    rows = []
    for name in [*(Path(file).stem for _, file in UNSEEN), *USED]:
        pixels = photograph(name)
        gave = "yes" if name in USED else "no"
        rows.append({"photograph": name, "tiles": gave} | scores(pixels, restore(pixels, models)))
    return pd.DataFrame(rows)


def draw(models: dict[str, Processor], out: Path) -> None:
    """Write the picture as PNG: for each photograph a row of wholes and a row of details."""
    parts = []
    for name, centre in SHOWN.items():
        pixels = photograph(name)
        outputs = {**restore(pixels, models), "photograph": pixels}
        images = {row: Image.fromarray(output) for row, output in outputs.items()}
        whole = {row: i.resize(pixels.shape[1::-1], Image.NEAREST) for row, i in images.items()}
        y, x = (int(c * side - DETAIL / 2) for c, side in zip(centre, pixels.shape, strict=False))
        box = (x, y, x + DETAIL, y + DETAIL)
        parts += [whole, {row: image.crop(box) for row, image in whole.items()}]
    heights = [part["photograph"].height / part["photograph"].width for part in parts]
    figure = Figure(figsize=(10, 2 * sum(heights) + 0.3), dpi=120)
    FigureCanvasAgg(figure)
    edges = {"left": 0, "right": 1, "bottom": 0, "top": 1 - 0.3 / figure.get_figheight()}
    grid = figure.subplots(
        len(parts), len(parts[0]), gridspec_kw={**edges, "height_ratios": heights}
    )
    figure.subplots_adjust(wspace=0.02, hspace=0.02)
    for axes, part in zip(grid, parts, strict=True):
        for ax, image in zip(axes, part.values(), strict=True):
            ax.imshow(np.asarray(image), interpolation="nearest", aspect="auto")
            ax.axis("off")
    for ax, row in zip(grid[0], parts[0], strict=True):
        ax.set_title(row, fontsize=10)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="png")


if __name__ == "__main__":
    torch.set_num_threads(2)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("out", type=Path, nargs="?")
    given = parser.parse_args()
    trained = processors(given.results)
    text = table(trained).to_markdown(index=False, floatfmt=".2f")
    write_text(given.results / "tables/photographs.md", text + "\n")
    print(text)
    if given.out:
        draw(trained, given.out)
