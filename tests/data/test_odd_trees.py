"""Random trees of odd names and odd files: `ra prepare` reads them, or says what is wrong.

python tests/data/test_odd_trees.py FIRST LAST tries more seeds than the test does.
"""

import io
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ra.data.prepare as cache
from ra.data.folders import SPLITS
from ra.data.prepare import prepare
from ra.data.splits import open_split
from ra.errors import UserError

PIECES = ["a", "é", "猫", "\n", "\r", ",", '"', " ", "\x85", "\u2028", "\x1c", ";", "$(x)", "'"]
PIECES += ["\\", "NA", "%s", "{}", "0", "\x7f", "=1+1", "-x"]
EXTENSIONS = [".png", ".png", ".jpg", ".tif", ".webp", ".gif", ".avif", ".jp2", ".pgm", ".txt", ""]
FORMATS = ["PNG", "PNG", "JPEG", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000", "PPM", "EPS", "PDF"]
MODES = ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "I", "F"]
NUMBERS = {"I;16": np.uint16, "I": np.int32, "F": np.float32}


def content(draw: random.Random) -> bytes:
    """A file of any format and mode; one in three is cut or has wrong bytes in its header."""
    size, mode, stream = draw.choice([(1, 1), (5, 40), (20, 24)]), draw.choice(MODES), io.BytesIO()
    pixels = np.frombuffer(draw.randbytes(size[0] * size[1] * 3), np.uint8).reshape(*size, 3)
    if mode in NUMBERS:
        grey = pixels[..., 0].astype(NUMBERS[mode]) * draw.choice([1, 16, 257])
        image = Image.fromarray(grey)
    else:
        image = Image.fromarray(pixels).convert(mode)
    try:
        image.save(stream, draw.choice(FORMATS))
    except (OSError, ValueError):  # the format does not have the mode
        image.convert("RGB").save(stream, "PNG")
    data = bytearray(stream.getvalue())
    spoiled = draw.random()
    if spoiled < 0.15:
        return bytes(data[: draw.randrange(len(data))])
    for _ in range(draw.randrange(1, 10) if spoiled < 0.35 else 0):
        data[draw.randrange(min(len(data), 200))] = draw.randrange(256)
    return bytes(data)


def name(draw: random.Random) -> str:
    return "".join(draw.choices(PIECES, k=draw.randrange(1, 5)))


def place(draw: random.Random, path: Path, root: Path) -> None:
    """An image, or seldom something else that a folder can hold."""
    kinds = [
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("x"),
    ]
    kinds += [lambda path: path.symlink_to(path), Path.mkdir, lambda path: path.symlink_to(root)]
    if draw.random() < 0.12:
        draw.choice(kinds)(path)
    else:
        path.write_bytes(content(draw))


def tree(draw: random.Random, root: Path) -> None:
    classes = sorted({name(draw) for _ in range(draw.randrange(1, 4))})
    for split in SPLITS:
        for label in classes:
            for number in range(draw.randrange(4, 10)):
                folder = root / split / label / draw.choice([".", ".", ".", "sub", ".hidden"])
                folder.mkdir(parents=True, exist_ok=True)
                place(draw, folder / f"{name(draw)}{number}{draw.choice(EXTENSIONS)}", root)


def check(seed: int, folder: Path) -> bool:
    """Whether the tree is a data set: then it reads back, also after an interruption."""
    draw = random.Random(seed)
    tree(draw, folder / "images")
    options = {"name": "odd", "resize": draw.choice([None, 20]), "crop": draw.choice([1, 16])}
    options |= {"decode": draw.random() < 0.7, "on_bad_image": "skip"}
    try:
        info = prepare(folder / "images", folder / "whole", **options)
    except UserError:
        return False
    read, left = cache._read, draw.randrange(12)

    def dies(item, **settings):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return read(item, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_read", dies)
        try:
            prepare(folder / "images", folder / "cut", **options)
        except KeyboardInterrupt:
            for part in (folder / "cut").glob("*.part"):  # as after a loss of power
                os.truncate(part, draw.randrange(part.stat().st_size + 1))
    prepare(folder / "images", folder / "cut", **options)
    written = [{p.name: p.read_bytes() for p in (folder / n).iterdir()} for n in ("whole", "cut")]
    assert written[0] == written[1]
    for split in SPLITS:
        images = open_split(folder / "whole", split)
        assert len(images) == info.images[split]
        for index, path in enumerate(images.paths):
            assert (folder / "images" / path).is_file()
            assert min(images.image(index).shape[:2]) >= info.crop
    return True


@pytest.mark.filterwarnings("ignore")
def test_odd_trees_are_read_back_or_refused(tmp_path):
    results = []
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        results.append(check(seed, tmp_path / str(seed)))
    assert results.count(True) >= 6


if __name__ == "__main__":
    for seed in range(*(int(argument) for argument in sys.argv[1:3])):
        with tempfile.TemporaryDirectory() as folder:
            print(seed, check(seed, Path(folder)))
