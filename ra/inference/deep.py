"""16-bit images, most of which Pillow reads with 8 bits."""

import struct
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ra.errors import first_line
from ra.files import atomic, escaped

SUFFIXES = (".png", ".tif", ".tiff")  # of files that hold 16 bits
BITS, ORIENTATION = 258, 274  # TIFF tags: bits of a sample, rotation


class Deep(NamedTuple):
    """An image with 16 bits a channel.

    Attributes:
        pixels: uint16 (h, w, channels): L, LA, RGB or RGBA.
        profile: its colour profile, may be empty.
    """

    pixels: np.ndarray
    profile: bytes = b""

    @property
    def mode(self) -> str:
        """Pillow's mode of the same image with 8 bits."""
        return ("L", "LA", "RGB", "RGBA")[self.pixels.shape[2] - 1]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def white(self) -> int:
        """The value of white: cameras store 12 bits in 16-bit files without saying so."""
        return 65535 if self.pixels.max() > 4095 else 4095

    def shallow(self) -> Image.Image:
        """The image with 8 bits."""
        pixels = (self.pixels * (255 / self.white)).round().astype(np.uint8)
        image = Image.fromarray(pixels.squeeze(2) if self.mode == "L" else pixels)
        image.info["icc_profile"] = self.profile
        return image


def deepened(path: Path, image: Image.Image) -> Deep | Image.Image:
    """The 16 bits of a PNG or TIFF, upright, that Pillow opened as ``image``; else ``image``.

    Where they cannot be read, a line on stderr says so.
    """
    profile = image.info.get("icc_profile", b"")
    if image.mode.startswith("I;16") and image.format in ("PNG", "TIFF"):
        return Deep(np.asarray(image, np.uint16)[..., None], profile)
    try:
        if image.format == "PNG" and _png_bits(path) == 16:
            from torchvision.io import ImageReadMode, decode_image

            options: Any = {"mode": ImageReadMode.UNCHANGED, "apply_exif_orientation": True}
            return Deep(decode_image(str(path), **options).permute(1, 2, 0).numpy(), profile)
        if isinstance(image, TiffImageFile) and image.tag_v2.get(BITS, (8,))[0] == 16:
            import tifffile

            with tifffile.TiffFile(path) as file:
                page: Any = file.pages[0]
                pixels, turn = page.asarray(), page.tags.get(ORIENTATION)
                if page.dtype == np.uint16 and page.axes in ("YXS", "SYX"):
                    pixels = pixels if page.axes == "YXS" else np.moveaxis(pixels, 0, 2)
                    return Deep(_upright(pixels, turn.value if turn else 1), profile)
    except Exception as error:  # of an odd file, or a compression that tifffile lacks
        said = f"{escaped(path)}: processed with 8 bits; its 16 cannot be read"
        print(f"{said} ({first_line(error)}); save it as PNG", file=sys.stderr)
    return image


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    pixels = pixels.swapaxes(0, 1) if orientation > 4 else pixels
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def save_deep(image: Deep, path: Path) -> None:
    """Write a PNG or TIFF of 16 bits with its colour profile."""
    with atomic(path) as temporary:
        if path.suffix.lower() == ".png":
            temporary.write_bytes(_png(image))
            return
        import tifffile

        colour = "rgb" if image.mode.startswith("RGB") else "minisblack"
        alpha = ["unassalpha"] if image.mode.endswith("A") else None
        options: Any = {"photometric": colour, "extrasamples": alpha, "compression": "zlib"}
        options["planarconfig"] = "contig" if len(image.mode) > 1 else None
        with temporary.open("wb") as file:
            pixels = image.pixels if len(image.mode) > 1 else image.pixels[..., 0]
            tifffile.imwrite(file, pixels, iccprofile=image.profile or None, **options)


def _png(image: Deep) -> bytes:
    """Of libraries at hand none writes 16-bit RGB; see the PNG specification, sections 5 and 9."""
    height, width, channels = image.pixels.shape
    rows = image.pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    up = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))  # filter 2, modulo 256
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(lines.tobytes()), b"IEND": b""}
    if image.profile:
        profile = b"ICC profile\0\0" + zlib.compress(image.profile)
        parts = {b"IHDR": header, b"iCCP": profile} | parts
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
