"""Images with objects and masks: a PASCAL VOC tree (VOCdevkit).

A tree has ``VOC2007/ImageSets/Main/SET.txt`` (one image name a line), ``Annotations/NAME.xml``,
``JPEGImages/NAME.jpg`` (or .png) and, for segmentation, ``SegmentationClass/NAME.png``: a palette
image of class numbers, 0 is background, 255 is void. Names of classes stand in ``classes.txt``, a
line each, or are VOC's own. Source: Everingham et al., The PASCAL VOC Development Kit.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ra.data.images import BadImage, fitted, open_image
from ra.errors import UserError

LARGEST_XML = 1_000_000  # bytes; VOC's own are below 10,000
VOID = 255  # in a mask: a pixel that belongs to no class
CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()


class Annotation(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: left, top, right, bottom in pixels from 0, right and bottom exclusive; (n, 4).
        names: class of each.
        difficult: whether VOC calls it difficult; (n,), bool.
    """

    boxes: np.ndarray
    names: list[str]
    difficult: np.ndarray


def read_annotation(path: Path) -> Annotation:
    """Objects of a VOC annotation; parts of objects are no objects.

    Nothing in the file can make the parser fetch or expand anything: a document type, which alone
    could declare entities, is refused.

    Raises:
        UserError: unreadable, no XML, or an object without name or box.
    """
    try:
        text = path.read_bytes()
        if len(text) > LARGEST_XML or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise ValueError("too large, or with a document type")
        objects = ElementTree.fromstring(text).findall("object")
        boxes = [_box(found.find("bndbox")) for found in objects]
        names = [found.find("name").text.strip() for found in objects]
        hard = [int(found.findtext("difficult") or 0) != 0 for found in objects]
    except (OSError, ValueError, AttributeError, TypeError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: not a VOC annotation ({type(error).__name__}: {error})") from None
    return Annotation(np.array(boxes, np.float32).reshape(-1, 4), names, np.array(hard, bool))


def _box(found) -> tuple[float, float, float, float]:
    """VOC counts pixels from 1 and includes the last; some files have fractions."""
    left, top, right, bottom = (float(found.findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax"))
    if not (1 <= left <= right and 1 <= top <= bottom):
        raise ValueError(f"a box from {left}, {top} to {right}, {bottom}")
    return left - 1, top - 1, right, bottom


def find_scenes(
    root: Path, sets: Mapping[str, Sequence[str]]
) -> tuple[list[str], dict[str, list[tuple]]]:
    """Classes, and (path, label, annotation, mask) of the images of each split.

    The label, for classifiers, is the class of the largest object; -1 where there is none. Masks
    are left out where not every image has one.

    Args:
        sets: by split, ``VOC2007/Main/trainval`` and so on.
    """
    found: dict[str, list[tuple[str, Annotation, tuple[str, ...]]]] = {}
    for split, names in sets.items():
        found[split] = []
        for name in names:
            year, _, part = name.partition("/")
            for image in _image_names(root / year / "ImageSets" / f"{part}.txt"):
                file = _image_file(root / year / "JPEGImages", image)
                annotation, mask = companions_of(file)
                kept = (str(annotation), *([str(mask)] if mask.is_file() else []))
                one = (file.relative_to(root).as_posix(), read_annotation(annotation), kept)
                found[split].append(one)
    used = {name for images in found.values() for _, one, _ in images for name in one.names}
    classes = _classes(root, used)
    least = min(len(kept) for rows in found.values() for *_, kept in rows)
    return classes, {
        split: [(path, _label(one, classes), *kept[:least]) for path, one, kept in rows]
        for split, rows in found.items()
    }


def companions_of(image: Path) -> tuple[Path, Path]:
    """Where the annotation and the mask of an image of a tree are."""
    year, name = image.parents[1], image.stem
    return year / "Annotations" / f"{name}.xml", year / "SegmentationClass" / f"{name}.png"


def _classes(root: Path, used: set[str]) -> list[str]:
    """Names in the order of the masks' numbers."""
    listed = root / "classes.txt"
    known = listed.read_text(encoding="utf-8").split() if listed.is_file() else CLASSES
    if used <= set(known):
        return list(known)
    if listed.is_file():
        raise UserError(f"{listed}: has no line {sorted(used - set(known))[0]}, a class of {root}")
    return sorted(used)


def _label(one: Annotation, classes: Sequence[str]) -> int:
    if not one.names:
        return -1
    left, top, right, bottom = one.boxes.T
    return classes.index(one.names[int(((right - left) * (bottom - top)).argmax())])


def truth_of(
    image: Path, classes: Sequence[str], side: int, masks: bool, mirrored: bool
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The objects and the mask of an image that was fitted into a square of ``side`` pixels.

    Args:
        masks: there is a mask.
        mirrored: left and right are exchanged.

    Returns:
        boxes (n, 4; pixels), labels (n, from 1; 0 is background) and difficult (n); and the mask,
        uint8 (side, side), or None.
    """
    annotation, file = companions_of(image)
    one = read_annotation(annotation)
    with Image.open(image) as opened:
        scale = side / max(opened.size)
    boxes = one.boxes * np.float32(scale)
    mask = None
    if masks:
        try:
            numbers = open_image(file)
        except BadImage as error:
            raise UserError(f"{file} {error}") from None
        mask = fitted(numbers, side, Image.Resampling.NEAREST, VOID)
        if mask.ndim != 2 or ((mask > len(classes)) & (mask != VOID)).any():
            raise UserError(f"{file}: not class numbers up to {len(classes)}, or {VOID}")
    if mirrored:
        left, top, right, bottom = boxes.T
        boxes = np.stack([side - right, top, side - left, bottom], axis=1)
        mask = None if mask is None else mask[:, ::-1]
    labels = np.array([1 + classes.index(name) for name in one.names], np.int64)
    return {"boxes": boxes, "labels": labels, "difficult": one.difficult}, mask


def _image_names(path: Path) -> list[str]:
    try:
        names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); a VOC tree has it"
        ) from None
    if not names:
        raise UserError(f"{path}: names no image")
    for name in names:
        if "/" in name or name.startswith("."):
            raise UserError(f"{path}: '{name}' is not the name of an image")
    return names


def _image_file(folder: Path, name: str) -> Path:
    for suffix in (".jpg", ".png"):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise UserError(f"{folder / name}.jpg: no such image; ImageSets names it")
