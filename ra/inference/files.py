"""Image files in and out of ``ra process`` and ``ra predict``."""

import glob
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ra.data.images import EXTENSIONS, BadImage, find_files, open_image
from ra.errors import UserError
from ra.files import atomic, escaped
from ra.inference.deep import SUFFIXES, Deep, deepened, save_deep

# Longest side in pixels that a format can hold; formats that are not listed hold any.
LONGEST = {"AVIF": 32768, "GIF": 65535, "ICO": 256, "JPEG": 65500, "MPO": 65500, "PCX": 65534}
LONGEST |= {"SGI": 65535, "TGA": 65535, "WEBP": 16383}
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif")  # saved at quality 95


def find_inputs(inputs: Sequence[str], out: Path | None = None) -> list[tuple[Path, Path]]:
    """(image, its place below the output folder) of files, folders and glob patterns.

    In a folder, hidden files and folders and those of thumbnails are left out, and so is ``out``:
    it holds results of an earlier run.

    Raises:
        UserError: a pattern or path that matches nothing, a folder without images.
    """
    found: list[tuple[Path, Path]] = []
    for text in inputs:
        paths = [Path(text)] if Path(text).exists() else [Path(p) for p in sorted(glob.glob(text))]
        if not paths:
            raise UserError(f"{escaped(text)}: no such file, folder or pattern")
        for path in paths:
            places = _images_in(path, out) if path.is_dir() else None
            found += [(path / p, Path(p)) for p in places] if places else [(path, Path(path.name))]
    return found


def _images_in(folder: Path, out: Path | None) -> list[str]:
    """Images of ``folder`` that are not below ``out``; other files are named on stderr."""
    images, others = find_files(folder)
    if out is not None and folder.resolve() in out.resolve().parents:
        images = [i for i in images if out.resolve() not in (folder / i).resolve().parents]
    if not images:
        raise UserError(f"{escaped(folder)}: no image in it ({', '.join(EXTENSIONS)})")
    if others:
        names = ", ".join(escaped(name) for name in others[:5]) + (", ..." if others[5:] else "")
        said = f"{escaped(folder)}: not images by name, left out: {len(others)} ({names})"
        print(said, file=sys.stderr)
    return images


def plan(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """(image, result file) of every input; one file may be named, several go into a folder.

    In a folder every result is a PNG, which loses nothing.

    Raises:
        UserError: the format of ``out`` cannot be written, two results would be one file, or a
            result would replace an input.
    """
    found = find_inputs(inputs, out)
    if len(found) == 1 and not out.is_dir() and out.suffix:
        stored_mode(out, "RGB")
        pairs = [(found[0][0], out)]
    else:
        if out.is_file():
            raise UserError(f"{escaped(out)}: is a file; {len(found)} results need a folder")
        pairs = [(file, out / place.with_suffix(".png")) for file, place in found]
    taken: dict[Path, Path] = {}
    sources = {source.resolve() for source, _ in pairs}
    for source, result in pairs:
        if result in taken:
            both = f"{escaped(source)} and {escaped(taken[result])}"
            raise UserError(f"{both} would both become {escaped(result)}; rename one")
        if result.resolve() in sources:
            raise UserError(f"{escaped(result)}: would replace an input; choose another folder")
        taken[result] = source
    return pairs


def read(path: Path) -> Image.Image | Deep:
    """Open and decode an image, upright; UserError names the file and the reason.

    A PNG or TIFF with 16 bits is a ``Deep``.
    """
    try:
        return deepened(path, open_image(path))
    except BadImage as error:
        raise UserError(f"{escaped(path)} {error}") from None


def stored_mode(path: Path, mode: str, side: int = 1) -> str:
    """The mode in which an image can be saved as ``path``: its own, else without alpha or grey.

    Args:
        mode: L, LA, RGB or RGBA.
        side: the longer side of the image, in pixels.

    Raises:
        UserError: the suffix of ``path`` names no format that Pillow writes, or one that cannot
            hold such an image.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{escaped(path)}: no image format is called {path.suffix}; try .png")
    if side > LONGEST.get(kind, side):
        limit = f"{kind} holds at most {LONGEST[kind]} px a side"
        raise UserError(f"{escaped(path)}: the result has {side} px, but {limit}; try .png")
    for candidate in (mode, mode.rstrip("A"), "RGB"):
        if _holds(kind, candidate):
            return candidate
    raise UserError(f"{escaped(path)}: Pillow cannot write {mode} images as {kind}; try .png")


def _holds(kind: str, mode: str) -> bool:
    """Whether a format keeps the size and the transparency of an image; tried on a small one."""
    transparent, file = Image.new(mode, (16, 16), 0), io.BytesIO()
    try:
        transparent.save(file, kind)
        if kind not in Image.OPEN:
            return True
        with Image.open(file, formats=[kind]) as kept:
            alike = kept.size == transparent.size
            opaque = mode[-1] == "A" and kept.convert("RGBA").getchannel("A").getpixel((0, 0))
            return alike and not opaque
    except Exception:  # each format has its own kind of error for what it cannot hold
        return False


def save(image: Image.Image | Deep, path: Path) -> None:
    """Write ``image`` with its colour profile; formats without alpha get white behind it.

    PNG and TIFF keep 16 bits, the others have 8.

    Raises:
        UserError: Pillow cannot write this image in the format of ``path``.
        OSError: the disk is full or read-only.
    """
    if isinstance(image, Deep):
        if path.suffix.lower() in SUFFIXES:
            return save_deep(image, path)
        image = image.shallow()
    mode = stored_mode(path, image.mode, max(image.size))
    options: dict[str, Any] = {"quality": 95} if path.suffix.lower() in LOSSY else {}
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    if image.mode.endswith("A") and not mode.endswith("A"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    with atomic(path) as temporary:
        try:
            image.convert(mode).save(temporary, **options)
        except Exception as error:  # Pillow's encoders raise nearly anything
            if getattr(error, "errno", None):
                raise  # the disk's: atomic adds the name of the file
            raise UserError(f"{escaped(path)}: cannot be written ({error})") from None
