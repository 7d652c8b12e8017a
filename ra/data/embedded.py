"""The default data set: tiles of photographs that installed packages carry; class = photograph.

Each photograph is divided into blocks, each block belongs to one split, and a tile is cut and
resized inside one block: no pixel reaches two splits. photographs.csv has the author, licence and
source of each; docs/photographs.md also has those that are not used.
"""

import csv
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ra.errors import UserError
from ra.progress import Progress

SCALES = (0.75, 1, 1.5, 3)  # side of a source square, in tiles
BLOCK = 3  # least side of a block, in tiles: the largest source square fits
MIN_STD = 4.0  # grey levels; flatter tiles (empty sky, dark border) show no class
CAPS = {"train": 220, "val": 130}  # tiles per class, so that large photographs do not dominate

# Blocks are coloured by (column + 2 * row) mod 5, so that every colour is spread over the whole
# photograph. `tune` divides the training blocks of `final` again.
COLOURS = {
    "final": {"train": {1, 3, 4}, "val": {0, 2}},
    "tune": {"train": {1, 4}, "val": {3}},
}


@dataclass(frozen=True)
class Photograph:
    """A photograph inside an installed package, and its licence."""

    name: str
    package: str
    file: str
    author: str
    licence: str
    source: str

    def open(self) -> Image.Image:
        """RGB; read from the package's own files, never downloaded."""
        with (files(self.package) / self.file).open("rb") as stream:
            return Image.open(stream).convert("RGB")


with open(Path(__file__).with_name("photographs.csv"), newline="", encoding="utf-8") as table:
    PHOTOGRAPHS = tuple(
        Photograph(name=Path(row["file"]).stem, **row) for row in csv.DictReader(table)
    )


class Tile(NamedTuple):
    """A tile and where it was cut."""

    name: str  # the photograph, which is the class
    split: str  # train or val
    side: int  # of the source square, pixels
    box: tuple[int, int, int, int]  # the source square: left, top, right, bottom, pixels
    image: Image.Image  # RGB, resized to the tile's side


def blocks(size: tuple[int, int], side: int) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Divide ``size`` (width, height) into blocks of at least ``side`` pixels: colour and box."""
    x = np.linspace(0, size[0], size[0] // side + 1).astype(int)
    y = np.linspace(0, size[1], size[1] // side + 1).astype(int)
    for row, (top, bottom) in enumerate(pairwise(y)):
        for column, (left, right) in enumerate(pairwise(x)):
            yield (column + 2 * row) % 5, (int(left), int(top), int(right), int(bottom))


def _offsets(length: int, side: int, overlap: bool) -> Sequence[int]:
    """Evenly spread starts of ``side`` pixels in ``length``; with overlap, of about half."""
    count = 2 * (length // side) - 1 if overlap else length // side
    return [round(start) for start in np.linspace(0, length - side, count)] if count > 1 else [0]


def _squares(box: Sequence[int], side: int, overlap: bool) -> Iterator[tuple[int, int, int, int]]:
    left, top, right, bottom = box
    for y in _offsets(bottom - top, side, overlap):
        for x in _offsets(right - left, side, overlap):
            yield left + x, top + y, left + x + side, top + y + side


def _contrast(image: Image.Image) -> float:
    """Largest standard deviation of a channel, grey levels."""
    # One contiguous row per channel: numpy sums those several times faster than pixels.
    channels = np.asarray(image).reshape(-1, 3).T.astype(np.float32, order="C")
    return float(channels.std(axis=1).max())


def _cut(photograph: Photograph, tile: int, split: str, colours: set[int]) -> list[Tile]:
    """The tiles of one photograph in one split; validation tiles of one scale do not overlap."""
    image = photograph.open()
    found = []
    for colour, block in blocks(image.size, BLOCK * tile):
        for side in (round(scale * tile) for scale in SCALES):
            for box in _squares(block, side, overlap=split == "train") if colour in colours else ():
                # Cropped first, so that the resize filter cannot reach beyond the square.
                square = image.crop(box).resize((tile, tile), Image.Resampling.BICUBIC)
                if _contrast(square) >= MIN_STD:
                    found.append(Tile(photograph.name, split, side, box, square))
    keep = np.random.default_rng(0).permutation(len(found))[: CAPS[split]]
    return [found[index] for index in sorted(keep)]


def cut_tiles(tile: int = 40, split: str = "final") -> Iterator[Tile]:
    """All tiles, photograph by photograph; the same ones at every call.

    Args:
        tile: their side in pixels.
        split: ``final``, or ``tune``: only the training blocks of ``final``, divided again, to
            choose settings on.

    Raises:
        UserError: ``tile`` is so large that a photograph has none in train or val.
    """
    for photograph in PHOTOGRAPHS:
        for part, colours in COLOURS[split].items():
            tiles = _cut(photograph, tile, part, colours)
            if not tiles:
                raise UserError(
                    f"tiles of {tile} px are too large: photograph '{photograph.name}' has none "
                    f"for {part}; use at most 40"
                )
            yield from tiles


def write_image_folder(out: Path, tile: int = 40, split: str = "final") -> None:
    """Write the tiles of ``cut_tiles`` as ``out/{train,val}/CLASS/NAME.png``.

    ``out`` appears whole or not at all; what an earlier call wrote there is replaced.
    """
    out = Path(out)
    ours = {p.name for p in PHOTOGRAPHS}
    if out.exists() and any(path.name not in ours for path in out.glob("*/*")):
        raise UserError(f"{out} holds other files; choose another folder for the photographs")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tiles = Progress(cut_tiles(tile, split), name="cut photographs", unit="tiles")
    for name, part, side, (left, top, *_), image in tiles:
        path = partial / part / name / f"{side:03d}_{top:04d}_{left:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
