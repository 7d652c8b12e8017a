"""What is known of a prepared data set but its pixels: ``dataset.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

from ra.errors import UserError


@dataclass(frozen=True)
class DatasetInfo:
    """What ``dataset.json`` holds: everything about a prepared data set but its pixels.

    Attributes:
        name: identifies the data set in results.
        root: the folder of the images.
        classes: class names, in the order of their labels; none where images have no labels.
        images: number of images per split.
        resize: length of the shorter side in pixels; None where images keep their size.
        crop: side of the square crops, in pixels.
        decoded: whether pixels are cached; otherwise files are decoded at every use.
        digest: sha256 over the manifests and the sizes.
        degraded: the images are inputs of processors; nothing clean belongs to them.
        inputs: the folder of the images' twins; None where the data has no pairs.
        scale: how much larger images are than their twins.
        objects: the images have objects and are fitted into the square of ``crop``.
        masks: each has a mask of its classes.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    images: dict[str, int]
    resize: int | None
    crop: int
    decoded: bool
    digest: str
    degraded: bool = False
    inputs: str | None = None
    scale: int | None = None
    objects: bool = False
    masks: bool = False


def check_sizes(resize: int | None, crop: int) -> None:
    """UserError where no crop of ``crop`` pixels fits into images of ``resize``."""
    if crop < 1:
        raise UserError(f"crop: {crop} px; it must be at least 1")
    if resize is not None and resize < crop:
        raise UserError(f"resize: {resize} px is smaller than the crop of {crop} px")


def require_labels(info: DatasetInfo, what: str) -> None:
    """UserError where the data has no labels, which ``what`` needs."""
    if not info.classes:
        raise UserError(f"{info.root}: no labels, which {what} needs")


def read_info(directory: Path) -> DatasetInfo:
    """The ``dataset.json`` of a prepared data set."""
    path = directory / "dataset.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return DatasetInfo(**{**fields, "classes": tuple(fields["classes"])})
    except FileNotFoundError:
        raise UserError(f"{path}: not found; make it with 'ra prepare'") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: not written by this 'ra prepare'; run it again") from None
