"""Reads one image file the way the experiments want it: RGB, upright, 8 bits."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")


class BadImage(Exception):
    """An image that cannot be used; the message says why, without the path."""


def read_image(path: Path, resize: int | None = None, smallest: int = 1) -> np.ndarray:
    """Decode ``path`` to RGB and scale its shorter side to ``resize`` pixels.

    16-bit grey is scaled to 8 bits, palette, grey, alpha and CMYK become RGB, EXIF rotation is
    applied, of an animation the first frame is taken. Resizing is bilinear and antialiased, as
    torchvision's Resize does on a PIL image.

    Returns:
        uint8 (H, W, 3).

    Raises:
        BadImage: unreadable, too large before or after resizing, of floating-point pixels, or
            with a side below ``smallest`` pixels.
    """
    try:
        with warnings.catch_warnings():
            # Between one and two times PIL's pixel limit it only warns; above, it raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image = to_rgb(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError:
        raise BadImage("has too many pixels to decode safely") from None
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes PIL's decoders raise nearly anything
        reason = "is not an image" if "cannot identify" in str(error) else str(error)
        raise BadImage(f"cannot be read: {reason}".replace("\n", " ")) from None
    if resize is not None:
        size = resized(image.size, resize)
        if size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
            raise BadImage(
                f"is {image.width}x{image.height} px: too long and narrow to resize to {resize} px"
            )
        image = image.resize(size, Image.Resampling.BILINEAR)
    if min(image.size) < smallest:
        raise BadImage(f"is {image.width}x{image.height} px, smaller than the {smallest}-px crop")
    return np.asarray(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode PIL decodes -> RGB; 16 and 32-bit grey are scaled, not clipped."""
    if image.mode == "F":
        raise BadImage("has floating-point pixels, whose range is unknown; save it with 8 bits")
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    return image.convert("RGB")


def resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """(width, height) after the shorter side becomes ``shorter``; the longer one truncates."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
