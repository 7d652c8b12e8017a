"""Renders phrases of two words into images, as data for an OCR engine: a class a phrase.

    python tools/render_text.py FOLDER [TRAIN VAL]

writes TRAIN and VAL images of each of 20 phrases (default: 30 and 15) as FOLDER/train/PHRASE/*.png
and FOLDER/val/PHRASE/*.png, 96 px wide and high, a word a line. Font, size, angle, place and
colours are drawn for each image. The fonts come with matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 96  # pixels
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
PHRASES = (
    "red apple,green field,open door,cold water,white horse,old book,fast train,long road,"
    "warm bread,quiet night,black stone,first snow,sweet lemon,north wind,small boat,deep river,"
    "high tower,blue glass,round table,young queen"
).split(",")


def render(phrase: str, random: np.random.Generator) -> Image.Image:
    """An RGB image of ``phrase``, dark on light, that is drawn from ``random``."""
    fonts = Path(matplotlib.get_data_path(), "fonts/ttf")
    font = ImageFont.truetype(fonts / f"{random.choice(FONTS)}.ttf", int(random.integers(20, 27)))
    page = Image.new("L", (2 * SIDE, 2 * SIDE))
    ImageDraw.Draw(page).multiline_text(
        (SIDE // 2, SIDE // 2), phrase.replace(" ", "\n"), 255, font
    )
    page = page.rotate(random.uniform(-2, 2), Image.Resampling.BICUBIC)
    text = page.crop(page.getbbox())
    ground, ink = random.integers(185, 256, 3).tolist(), random.integers(0, 75, 3).tolist()
    image = Image.new("RGB", (SIDE, SIDE), tuple(ground))
    free = np.maximum(SIDE - 8 - np.array(text.size), 0)
    image.paste(tuple(ink), tuple((4 + random.integers(0, free + 1)).tolist()), text)
    return image


def main(folder: str, train: str = "30", val: str = "15") -> None:
    """Write both splits; an image depends on its split, phrase and number only."""
    for split, (name, count) in enumerate((("train", train), ("val", val))):
        for label, phrase in enumerate(PHRASES):
            place = Path(folder, name, phrase)
            place.mkdir(parents=True, exist_ok=True)
            for number in range(int(count)):
                random = np.random.default_rng([split, label, number])
                render(phrase, random).save(place / f"{number:03d}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
