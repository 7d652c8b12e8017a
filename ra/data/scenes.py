"""A small set of scenes for machines without VOC: pieces of some photographs, as ellipses, on
others as backgrounds, written as a VOC tree with boxes and masks.

No pixel reaches two splits: pieces and backgrounds are cut inside the blocks of
``ra.data.embedded``, each of which belongs to one split.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

from ra.data.embedded import BLOCK, COLOURS, MIN_STD, PHOTOGRAPHS, blocks
from ra.files import write_text

OBJECTS = ("brick", "chelsea", "coffee", "coins", "flower", "gravel", "ihc", "retina")
TILE = 40  # pixels; the size by which the default data set lays its blocks
YEAR = "VOC0000"
# Sides of the first object and of others, in sides of the image: the first one is the largest.
SIZES = ((0.45, 0.7), (0.22, 0.4))
MOST = 3  # objects an image
COLOURS_OF_MASKS = [0, 0, 0, *(int(255 * n / 9) for n in range(1, 9) for _ in range(3))]


def compose(
    out: Path, side: int, counts: Mapping[str, int], seed: int = 0, part_of: str = "final"
) -> dict[str, tuple[str, ...]]:
    """Write VOC0000, whole or not at all; an earlier one is replaced.

    Args:
        side: of the square images, pixels.
        counts: images by split, train and val.
        part_of: ``final``, or ``tune``: the training blocks, divided again.

    Returns:
        The image sets by split.
    """
    opened = {photograph.name: photograph.open() for photograph in PHOTOGRAPHS}
    tree = out / f".{YEAR}.partial"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("Annotations", "JPEGImages", "SegmentationClass", "ImageSets/Main"):
        (tree / folder).mkdir(parents=True)
    for number, (part, count) in enumerate(counts.items()):
        pieces = {
            name: [
                (picture, box)
                for colour, box in blocks(picture.size, BLOCK * TILE)
                if colour in COLOURS[part_of][part]
            ]
            for name, picture in opened.items()
        }
        names = []
        for index in range(count):
            names.append(f"{part}_{index:05d}")
            draw = np.random.default_rng([seed, number, index])
            image, mask, found = _scene(pieces, side, draw)
            image.save(tree / "JPEGImages" / f"{names[-1]}.png")
            mask.save(tree / "SegmentationClass" / f"{names[-1]}.png")
            write_text(tree / "Annotations" / f"{names[-1]}.xml", _annotation(side, found))
        write_text(tree / "ImageSets/Main" / f"{part}.txt", "\n".join(names) + "\n")
    write_text(out / "classes.txt", "\n".join(OBJECTS) + "\n")
    shutil.rmtree(out / YEAR, ignore_errors=True)
    tree.rename(out / YEAR)
    return {part: (f"{YEAR}/Main/{part}",) for part in counts}


def _cut(places, side: tuple[int, int], largest: float, draw) -> Image.Image:
    """A piece of one of the ``places``, of ``side`` pixels: up to ``largest`` times reduced."""
    for _ in range(20):
        picture, (left, top, right, bottom) = places[draw.integers(len(places))]
        room = min((right - left) / side[0], (bottom - top) / side[1], largest)
        scale = draw.uniform(min(0.75, room), room)
        width, height = (max(1, int(length * scale)) for length in side)
        x = left + draw.integers(right - left - width + 1)
        y = top + draw.integers(bottom - top - height + 1)
        # Cropped first, so that the resize filter cannot reach beyond the block.
        piece = picture.crop((x, y, x + width, y + height)).resize(side, Image.Resampling.BICUBIC)
        if np.asarray(piece, np.float32).std(axis=(0, 1)).max() >= MIN_STD:
            break  # flat pieces show no class
    return piece


def _scene(pieces, side: int, draw) -> tuple[Image.Image, Image.Image, list[tuple[str, list[int]]]]:
    """An image, its mask and its objects: name, box (left, top, right, bottom; right exclusive)."""
    behind = sorted(set(pieces) - set(OBJECTS))
    image = _cut(pieces[behind[draw.integers(len(behind))]], (side, side), 1.0, draw)
    classes = Image.new("P", image.size)
    classes.putpalette(COLOURS_OF_MASKS)
    found: list[tuple[str, list[int]]] = []
    for number in range(draw.integers(1, MOST + 1)):
        width, height = (int(side * draw.uniform(*SIZES[number > 0])) for _ in range(2))
        x, y = (int(draw.integers(side - length + 1)) for length in (width, height))
        box = [x, y, x + width, y + height]
        if any(_touch(box, other) for _, other in found):
            continue
        name = OBJECTS[draw.integers(len(OBJECTS))]
        mask = Image.new("L", (4 * width, 4 * height))  # four times larger, for a smooth rim
        ImageDraw.Draw(mask).ellipse((0, 0, 4 * width - 1, 4 * height - 1), fill=255)
        piece = _cut(pieces[name], (width, height), 2.0, draw)
        rim = mask.resize((width, height), Image.Resampling.BOX)
        image.paste(piece, (x, y), rim)
        classes.paste(1 + OBJECTS.index(name), (x, y), rim.point(lambda share: 255 * (share > 127)))
        found.append((name, box))
    return image, classes, found


def _touch(a: list[int], b: list[int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _annotation(side: int, found: list[tuple[str, list[int]]]) -> str:
    objects = "".join(
        f"<object><name>{escape(name)}</name><difficult>0</difficult>"
        f"<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>\n"
        for name, (left, top, right, bottom) in found
    )
    size = f"<size><width>{side}</width><height>{side}</height><depth>3</depth></size>\n"
    return f"<annotation>\n{size}{objects}</annotation>\n"
