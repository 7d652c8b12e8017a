"""A short training restores a whole photograph without a cast and without a grid, with the skip and
the padding of config.yaml; a network that paints the image between black frames does not."""

import numpy as np
import pytest
import yaml
from helpers import ROOT

from ra.cli import main
from ra.data.degradations import build_task, no_processing
from ra.data.embedded import PHOTOGRAPHS
from ra.inference.process import load, to_bytes, to_tensor

TILE, SCALE = 40, 4
CHOSEN = yaml.safe_load((ROOT / "config.yaml").read_text())["processor"]


def photograph(name):
    (one,) = (one for one in PHOTOGRAPHS if one.name == name)
    return one.open()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A folder with 72 tiles of astronaut."""
    folder, image = tmp_path_factory.mktemp("tiles"), photograph("astronaut")
    for number, corner in enumerate(np.ndindex(12, 6)):
        y, x = (TILE * side for side in corner)
        path = folder / ("val" if number % 9 == 8 else "train") / "astronaut" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((x, y, x + TILE, y + TILE)).save(path)
    return folder


def restored(tiles, out, *network):
    """(restored, bicubic, original): a part of coffee after a short training; (H, W, 3) each."""
    data = f"--data {tiles} --resize {TILE} --crop 32 --task sr --mode plain --save-dir {out}"
    schedule = "--epochs 4 --batch-size 4 --lr 1.5e-3 --lr-schedule cosine --warmup 20 --threads 1"
    sizes = "--channels 8 --blocks 1 --device cpu --quiet"
    assert main(["train", *f"{data} {schedule} {sizes}".split(), *network]) == 0
    original = np.asarray(photograph("coffee").crop((100, 60, 420, 300)))
    small = build_task("sr").degrade(to_tensor(original), [(0, 0, 0)])
    bicubic = to_bytes(no_processing(small.float() / 255, SCALE))
    output = load(out).pixels(small[0].permute(1, 2, 0).numpy())
    return (image.astype(float) for image in (output, bicubic, original))


def cast(image, original):
    """Largest difference of a channel's mean, grey levels."""
    return np.abs((image - original).mean(axis=(0, 1))).max()


def grid(image):
    """Spread of the means of the pixels at each place of a square of the pixel shuffle."""
    height, width = (side // SCALE for side in image.shape[:2])
    squares = image.mean(axis=2).reshape(height, SCALE, width, SCALE)
    return squares.mean(axis=(0, 2)).std()


def psnr(image, original):
    return 20 * np.log10(255 / np.sqrt(np.square(image - original).mean()))


def test_a_photograph_has_neither_a_cast_nor_a_grid(tiles, tmp_path):
    flags = ["--skip" if CHOSEN["skip"] else "--no-skip", "--padding", CHOSEN["padding"]]
    output, bicubic, original = restored(tiles, tmp_path / "chosen", *flags)
    assert np.abs(output - bicubic).mean() > 0.5  # it has learnt something to add
    assert psnr(output, original) > psnr(bicubic, original)
    assert cast(output, original) < 1
    assert grid(output) < 1.5 * grid(bicubic)
    painted, *_ = restored(tiles, tmp_path / "painted", "--no-skip", "--padding", "zeros")
    assert cast(painted, original) > 5 and grid(painted) > 2 * grid(bicubic)
