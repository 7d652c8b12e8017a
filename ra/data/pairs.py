"""Pairs: the degraded input of an image is a file of its own, its twin, below another folder."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ra.data.images import BadImage, find_files, fit, fitted, open_image, read_image, to_rgb
from ra.errors import UserError

SCALES = (1, 2, 3, 4, 8)
Pair = tuple[np.ndarray, np.ndarray | None]  # image and twin, uint8 (H, W, 3) and (h, w, 3)


def find_twins(inputs: Path) -> dict[str, str]:
    """Relative path without extension -> file, of every image below ``inputs``."""
    if not inputs.is_dir():
        raise UserError(f"{inputs}: no such folder; it should hold the inputs of the pairs")
    twins: dict[str, str] = {}
    for path in find_files(inputs)[0]:
        name, file = os.path.splitext(path)[0], str(inputs / path)
        if twins.setdefault(name, file) != file:
            raise UserError(f"{twins[name]} and {file}: two inputs of one name; remove one")
    return twins


def twin_of(path: str, twins: Mapping[str, str]) -> str:
    """The twin of the image ``path``; empty where there is none."""
    return twins.get(os.path.splitext(path)[0], "")


def find_scale(root: Path, paths: Iterable[str], twins: Mapping[str, str], crop: int) -> int:
    """How much larger images are than their twins, of the first pair that can be read.

    Raises:
        UserError: none can, it is none of ``SCALES``, or ``crop`` (pixels) is no multiple.
    """
    for path in paths:
        try:
            large, small = open_image(root / path).size, open_image(Path(twin_of(path, twins))).size
        except BadImage:
            continue
        misfit = {scale: _misfit(large, small, scale) for scale in SCALES}
        scale = min(SCALES, key=lambda one: misfit[one])
        if misfit[scale] >= scale:
            raise UserError(f"{root / path} {_unlike(large, small)}; scales are {SCALES}")
        if crop % scale:
            raise UserError(f"crop: {crop} px is not divisible by the scale of the pairs, {scale}")
        return scale
    raise UserError(f"{root}: no image has a twin of the same relative path")


def _misfit(large: tuple[int, int], small: tuple[int, int], scale: int) -> int:
    """Pixels by which sizes differ; below ``scale`` where the smaller one was rounded."""
    return max(abs(a - scale * b) for a, b in zip(large, small, strict=True))


def _unlike(large: tuple[int, int], small: tuple[int, int]) -> str:
    return "is {}x{} px, its twin {}x{} px".format(*large, *small)


def read_pair(
    path: Path, twin: str | None, scale: int | None, resize, crop: int, square: bool = False
) -> Pair:
    """The image ``path`` and its twin, cut to the sides at which ``scale`` fits exactly.

    Args:
        twin: None where the data has no pairs; empty where this image has no twin.
        resize, crop: as ``read_image``, for the image; its twin shrinks with it.
        square: the image is fitted into a square of ``crop`` pixels instead.

    Raises:
        BadImage: one cannot be read, the twin is missing, or the sizes do not fit.
    """
    if square:
        image = to_rgb(open_image(path))
        return fitted(image, crop, Image.Resampling.BILINEAR), None
    if twin is None or not scale:
        return read_image(path, resize, crop), None
    if not twin:
        raise BadImage("has no twin of the same relative path among the inputs")
    large = to_rgb(open_image(path))
    try:
        small = to_rgb(open_image(Path(twin)))
    except BadImage as error:
        raise BadImage(f"has a twin, {twin}, that {error}") from None
    if _misfit(large.size, small.size, scale) >= scale:
        raise BadImage(f"{_unlike(large.size, small.size)} ({twin}), not 1:{scale} as for others")
    image = fit(large, resize, crop)
    height, width = (side // scale for side in image.shape[:2])
    if resize is not None:
        small = small.resize((width, height), Image.Resampling.BILINEAR)
    height, width = min(height, small.height), min(width, small.width)
    return image[: height * scale, : width * scale], np.asarray(small)[:height, :width]
