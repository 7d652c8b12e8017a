"""The default data set: tiles of photographs that installed packages carry; class = photograph.

Each photograph is divided into blocks, each block belongs to one split, and a tile is cut and
resized inside one block: no pixel reaches two splits. Author, licence and source of each
photograph, and those left out, are in docs/photographs.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
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


CC0 = "CC0 1.0"
CC_BY = "CC BY 2.0"
PUBLIC = "public domain"
UNRESTRICTED = "no known copyright restrictions"


def _skimage(file: str, author: str, licence: str, source: str) -> Photograph:
    return Photograph(file.split(".")[0], "skimage", f"data/{file}", author, licence, source)


def _sklearn(file: str, author: str, licence: str, source: str) -> Photograph:
    path = f"datasets/images/{file}"
    return Photograph(file.split(".")[0], "sklearn", path, author, licence, source)


PHOTOGRAPHS = (
    _skimage("astronaut.png", "NASA", PUBLIC, "https://flic.kr/p/r9qvLn"),
    _skimage("brick.png", "CC0Textures", CC0, "https://cc0textures.com/view.php?tex=Bricks25"),
    _skimage(
        "camera.png",
        "Lav Varshney",
        CC0,
        "https://github.com/scikit-image/scikit-image/issues/3927",
    ),
    _skimage(
        "cell.png",
        "Paul Müller, Mirjam Schürmann, Salvatore Girardo, Gheorghe Cojoc, Jochen Guck",
        CC0,
        "https://doi.org/10.1364/OE.26.010729",
    ),
    _skimage("chelsea.png", "Stefan van der Walt", CC0, "scikit-image"),
    _sklearn(
        "china.jpg",
        "danielbuechele",
        CC_BY,
        "https://www.flickr.com/photos/danielbuechele/6061409035/",
    ),
    _skimage("coffee.png", "Rachel Michetti", CC0, "scikit-image, courtesy of Pikolo Espresso Bar"),
    _skimage(
        "coins.png",
        "Brooklyn Museum",
        UNRESTRICTED,
        "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
    ),
    _sklearn(
        "flower.jpg",
        "vultilion",
        CC_BY,
        "https://www.flickr.com/photos/vultilion/6056698931/",
    ),
    _skimage(
        "grass.png",
        "linolafett",
        CC0,
        "https://www.deviantart.com/linolafett/art/Grass-01-434853879",
    ),
    _skimage("gravel.png", "CC0Textures", CC0, "https://cc0textures.com/view.php?tex=Gravel04"),
    _skimage(
        "hubble_deep_field.jpg",
        "NASA",
        PUBLIC,
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    _skimage(
        "ihc.png",
        "Center for Microscopy And Molecular Imaging (CMMI)",
        UNRESTRICTED,
        "scikit-image",
    ),
    _skimage(
        "retina.jpg",
        "Mikael Häggström",
        CC0,
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
    ),
    _skimage(
        "rocket.jpg",
        "SpaceX",
        PUBLIC,
        "https://www.flickr.com/photos/spacexphotos/16511594820/",
    ),
)


class Tile(NamedTuple):
    """A tile and where it was cut.

    Attributes:
        name: the photograph, which is the class.
        split: ``train`` or ``val``.
        side: side of the source square, pixels.
        box: the source square in the photograph: left, top, right, bottom, pixels.
        image: RGB, resized to the tile's side.
    """

    name: str
    split: str
    side: int
    box: tuple[int, int, int, int]
    image: Image.Image


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


def _squares(
    box: tuple[int, int, int, int], side: int, overlap: bool
) -> Iterator[tuple[int, int, int, int]]:
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
    _write(Progress(cut_tiles(tile, split), name="cut photographs", unit="tiles"), partial)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def _write(tiles: Iterable[Tile], folder: Path) -> None:
    for name, split, side, (left, top, *_), image in tiles:
        path = folder / split / name / f"{side:03d}_{top:04d}_{left:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
