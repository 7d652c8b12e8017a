"""Finds image files and reads them, by one rule for every command: upright, RGB, 8 bits."""

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Only these formats are opened, whatever a file is called: Pillow's readers of some others start
# external programs.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
}
EXTENSIONS = tuple(extension for group in FORMATS.values() for extension in group)

# The largest photographs of telephones (108 million pixels) fit; a process that decodes one holds
# at most 1.3 GB.
MAX_PIXELS = 120_000_000
THUMBNAIL_FOLDERS = {"@eadir", "#recycle", "__macosx", "thumbnails"}


class BadImage(Exception):
    """An image that cannot be used; the message says why, without the path."""


def is_listed(name: str) -> bool:
    """Whether a file or folder called ``name`` belongs to the data.

    Hidden ones do not, nor do folders in which other programs keep thumbnails and copies.
    """
    return not name.startswith(".") and name.lower() not in THUMBNAIL_FOLDERS


def find_files(folder: Path) -> tuple[list[str], list[str]]:
    """Images below ``folder``, and files of other formats: paths relative to it, sorted.

    Leaves out what ``is_listed`` says. Follows links, but never into a folder above.
    """
    images, others = [], []
    for path in sorted(_walk(folder, "", frozenset()), key=lambda path: path.split("/")):
        (images if path.lower().endswith(EXTENSIONS) else others).append(path)
    return images, others


def _walk(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in os.scandir(folder):
        if not is_listed(entry.name):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads to itself
            continue
        if is_folder:
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {real})
        else:
            yield prefix + entry.name


def open_image(path: Path) -> Image.Image:
    """Decode ``path``: upright by its EXIF rotation, in the file's mode, with its colour profile.

    Of an animation, the first frame.

    Raises:
        BadImage: not a regular file, none of ``FORMATS``, damaged, or of more than ``MAX_PIXELS``.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadImage("is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; MAX_PIXELS decides on size
            with Image.open(path, formats=tuple(FORMATS)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                ImageOps.exif_transpose(image, in_place=True)
                image.load()
                return image
    except Image.DecompressionBombError:
        raise BadImage(
            f"has too many pixels to decode safely (at most {MAX_PIXELS // 10**6} million)"
        ) from None
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = "is not an image" if "cannot identify" in reason else reason
        raise BadImage(f"cannot be read: {reason}".replace("\n", " ")) from None


def read_image(path: Path, resize: int | None = None, smallest: int = 1) -> np.ndarray:
    """Decode ``path`` to RGB and scale its shorter side to ``resize`` pixels.

    Resizing is bilinear and antialiased, as torchvision's Resize does on a PIL image.

    Returns:
        uint8 (H, W, 3).

    Raises:
        BadImage: as ``open_image`` and ``to_rgb``; too large after resizing; or with a side below
            ``smallest`` pixels.
    """
    return fit(to_rgb(open_image(path)), resize, smallest)


def fit(image: Image.Image, resize: int | None, smallest: int) -> np.ndarray:
    """What ``read_image`` makes of a decoded image."""
    if resize is not None:
        size = resized(image.size, resize)
        if size[0] * size[1] > MAX_PIXELS:
            raise BadImage(
                f"is {image.width}x{image.height} px: too long and narrow to resize to {resize} px"
            )
        image = image.resize(size, Image.Resampling.BILINEAR)
    if min(image.size) < smallest:
        raise BadImage(f"is {image.width}x{image.height} px, smaller than the {smallest}-px crop")
    return np.asarray(image)


def fitted(image: Image.Image, side: int, resample: Image.Resampling, empty: int = 0) -> np.ndarray:
    """``image`` scaled to fit a square, which is filled with ``empty`` at the right and below."""
    scale = side / max(image.size)
    size = [max(1, round(length * scale)) for length in image.size]
    pixels = np.asarray(image.resize(size, resample))
    square = np.full((side, side, *pixels.shape[2:]), empty, np.uint8)
    square[: size[1], : size[0]] = pixels
    return square


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that Pillow decodes -> RGB; more than 8 bits of grey are scaled, not clipped.

    Raises:
        BadImage: floating-point pixels, or integers beyond 16 bits.
    """
    if image.mode == "F":
        raise BadImage("has floating-point pixels, whose range is unknown; save it with 8 bits")
    if image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.format == "PPM"))
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray, full_range: bool) -> np.ndarray:
    """Integers (H, W) -> uint8 (H, W), from 16 bits or, where no pixel is above them, from 12.

    Cameras and scanners store 12 bits in 16-bit files without saying so. ``full_range``: the
    values are known to be of 16 bits.
    """
    low, high = int(grey.min()), int(grey.max())
    if low < 0 or high > 65535:
        raise BadImage(f"has integer pixels of {low} to {high}; save it with 8 or 16 bits")
    white = 65535 if full_range or high > 4095 else 4095
    flat, scaled = grey.reshape(-1), np.empty(grey.size, np.uint8)
    for start in range(0, grey.size, 2**20):  # in parts: no copy with 4 bytes a pixel
        part = slice(start, start + 2**20)
        scaled[part] = (flat[part].astype(np.float32) / (white / 255)).round()
    return scaled.reshape(grey.shape)


def resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """(width, height) after the shorter side becomes ``shorter``; the longer one truncates."""
    width, height = (int(shorter * side / min(size)) for side in size)
    return width, height
