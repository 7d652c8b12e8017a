"""Images with boxes from a PASCAL VOC tree (VOCdevkit), as batches for processors and detectors.

A tree has ``VOC2007/ImageSets/Main/SET.txt`` (one image name a line), ``Annotations/NAME.xml`` and
``JPEGImages/NAME.jpg`` (or .png). Source: Everingham et al., The PASCAL VOC Development Kit.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ra.data.degradations import VALIDATION, Key, random_generator
from ra.data.images import BadImage, read_image
from ra.data.splits import Batch
from ra.errors import UserError

LARGEST_XML = 1_000_000  # bytes; VOC's own are below 10,000


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


class VocImages:
    """The images and objects of one or several image sets of a tree, at one size.

    Args:
        root: the folder with VOC2007/ and so on.
        sets: ``VOC2007/trainval`` and so on.
        side: images are scaled to fit a square of this side, pixels, and padded with black at the
            right and at the bottom, so that they stack; boxes go with them.
        classes: names in the order of labels; None takes those that occur, sorted.
    """

    def __init__(
        self, root: Path, sets: Sequence[str], side: int, classes: Sequence[str] | None = None
    ) -> None:
        self.side = side
        self.files: list[Path] = []
        self.annotations: list[Annotation] = []
        for name in sets:
            year, _, part = name.partition("/")
            for image in _image_names(root / year / "ImageSets/Main" / f"{part}.txt"):
                self.files.append(_image_file(root / year / "JPEGImages", image))
                annotation = root / year / "Annotations" / f"{image}.xml"
                self.annotations.append(read_annotation(annotation))
        found = sorted({name for one in self.annotations for name in one.names})
        self.classes = list(classes if classes is not None else found)
        unknown = set(found) - set(self.classes)
        if unknown:
            raise UserError(
                f"{root}: {', '.join(sets)}: class {sorted(unknown)[0]} is not among the "
                f"detector's {len(self.classes)}"
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """sha256 of names, boxes and size."""
        pairs = zip(self.files, self.annotations, strict=True)
        content = [(file.name, one.boxes.tolist(), one.names) for file, one in pairs]
        return hashlib.sha256(repr([self.side, content]).encode()).hexdigest()

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Tensor]]:
        """uint8 (side, side, 3) and boxes (n, 4; pixels), labels (n, from 1; 0 is background)
        and difficult (n)."""
        try:
            image = Image.fromarray(read_image(self.files[index]))
        except BadImage as error:
            raise UserError(f"{self.files[index]} {error}; replace or remove it") from None
        scale = self.side / max(image.size)
        size = [max(1, round(length * scale)) for length in image.size]
        square = np.zeros((self.side, self.side, 3), np.uint8)
        square[: size[1], : size[0]] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        boxes, names, difficult = self.annotations[index]
        return square, {
            "boxes": torch.from_numpy(boxes * np.float32(scale)),
            "labels": torch.tensor([1 + self.classes.index(n) for n in names], dtype=torch.long),
            "difficult": torch.from_numpy(difficult),
        }


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


class DetectionBatch(NamedTuple):
    """A ``Batch`` whose images have objects; ``label`` is 0 throughout.

    Attributes:
        objects: per image boxes (n, 4; left, top, right, bottom in pixels of the target), labels
            (n, from 1) and difficult (n).
    """

    input: Tensor
    target: Tensor
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # as in ra.data.splits.Batch
    objects: list[dict[str, Tensor]]

    def to(self, device: torch.device) -> DetectionBatch:
        """On ``device``, images float in [0, 1]."""
        moved = [{k: v.to(device) for k, v in one.items()} for one in self.objects]
        return DetectionBatch(*Batch(*self[:4]).to(device)[:4], moved)


class DetectionCrops(Dataset):
    """Whole images of a VOC tree, degraded; ``ra.data.splits.Crops`` is its like for classes.

    Keys are (seed, epoch, index); training flips half of the images, boxes included.
    """

    def __init__(self, images: VocImages, task: Any | None) -> None:
        self.images, self.task = images, task

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[Key]) -> DetectionBatch:
        loaded = [self._one(key) for key in keys]
        target = torch.from_numpy(np.stack([image for image, _ in loaded])).permute(0, 3, 1, 2)
        degraded = self.task.degrade(target, keys) if self.task else target
        index = torch.tensor([index for _, _, index in keys])
        objects = [found for _, found in loaded]
        return DetectionBatch(degraded, target, torch.zeros_like(index), index, objects)

    def _one(self, key: Key) -> tuple[np.ndarray, dict[str, Tensor]]:
        image, found = self.images.load(key[2])
        if key[1] == VALIDATION or random_generator(key, 0).random() >= 0.5:
            return image, found
        left, top, right, bottom = found["boxes"].unbind(dim=1)
        side = self.images.side
        flipped = torch.stack([side - right, top, side - left, bottom], dim=1)
        return np.ascontiguousarray(image[:, ::-1]), {**found, "boxes": flipped}
