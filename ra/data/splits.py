"""Batches of clean crops and their degraded inputs, from a prepared data set or a plain folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import torch
from pyarrow import csv
from torch import Tensor
from torch.utils.data import Dataset

from ra.data.dataset import DatasetInfo, check_sizes, read_info
from ra.data.degradations import VALIDATION, Key, inputs_of, random_generator
from ra.data.folders import NOT_UTF8, find_classes, find_images, is_utf8
from ra.data.images import BadImage
from ra.data.pairs import Pair, find_scale, find_twins, read_pair, twin_of
from ra.data.voc import truth_of
from ra.errors import UserError
from ra.files import escaped


class Batch(NamedTuple):
    """One batch; integers in 0..255 or floats in [0, 1] as the degradation left them."""

    input: Tensor  # degraded images (N, 3, h, w), uint8 or float32
    target: Tensor  # clean crops (N, 3, H, W), uint8
    label: Tensor  # class indices (N,), int64
    # Positions in the split's manifest (N,), int64.
    index: Tensor  # type: ignore[assignment]  # no caller wants tuple's method
    mirrored: Tensor | None = None  # 1 where the crop is mirrored, else 0 (N,), int64
    # Of a data set with objects: class of each pixel, 0 background, 255 void (N, H, W), uint8; and
    # per image boxes (n, 4; left, top, right, bottom, pixels), labels (n, from 1), difficult (n).
    mask: Tensor | None = None
    objects: list[dict[str, Tensor]] | None = None

    def to(self, device: torch.device) -> "Batch":
        """The batch on ``device``, all images float in [0, 1]; they are copied as bytes."""
        moved: dict[str, Any] = {
            name: part.to(device, non_blocking=True)
            for name, part in self._asdict().items()
            if isinstance(part, Tensor)
        }
        for name in ("input", "target"):
            if moved[name].dtype == torch.uint8:
                moved[name] = moved[name].float().div_(255)
        if self.objects is not None:
            moved["objects"] = [{k: v.to(device) for k, v in one.items()} for one in self.objects]
        return Batch(**moved)


class Paths(Sequence[str]):
    """Paths of images in one block of memory.

    As Python strings, a million of them would take half a gigabyte, and every loader process would
    copy what it touches.
    """

    def __init__(self, column: pyarrow.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices
        return self._column[int(index)].as_py()


# The columns of a manifest that are read here, and their types.
TYPES = {"path": "string", "label": "int64", "height": "int32", "width": "int32", "offset": "int64"}


class ImageSplit:
    """One split of a prepared data set: images by index, memory-mapped or decoded on demand."""

    def __init__(self, directory: Path, split: str) -> None:
        self.info = read_info(directory)
        manifest, pixels = directory / f"{split}.csv", directory / f"{split}.bin"
        try:
            reading = csv.ReadOptions(use_threads=False, block_size=2**24)
            parsing = csv.ParseOptions(newlines_in_values=True)
            columns = {"column_types": TYPES, "include_columns": list(TYPES), "null_values": []}
            with open(manifest, "rb") as file:
                table = csv.read_csv(file, reading, parsing, csv.ConvertOptions(**columns))
        except (KeyError, ValueError):
            table = {}
        if len(table) != self.info.images[split] or not len(table):
            raise UserError(f"{manifest}: damaged; run 'ra prepare' again")
        self.paths = Paths(table["path"])
        self.labels, self._heights, self._widths, self._offsets = (
            # to_numpy() would import pandas.
            np.frombuffer(table[name].combine_chunks().buffers()[1], kind, len(table))
            for name, kind in TYPES.items()
            if name != "path"
        )
        pyarrow.default_memory_pool().release_unused()
        self._pixels, inputs = None, self.info.inputs
        self._twins = find_twins(Path(inputs)) if inputs and not self.info.decoded else None
        if self.info.decoded:
            # More pixels than the manifest needs are right: halves of the classes share them.
            end = self._offsets[-1] + 3 * int(self._heights[-1]) * int(self._widths[-1])
            if pixels.stat().st_size < end:
                raise UserError(f"{pixels}: damaged; run 'ra prepare' again")
            self._pixels = np.memmap(pixels, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def whole(self) -> bool:
        """Whether every image has the size of a crop, so that its crop is all of it."""
        return bool(((self._heights == self.info.crop) & (self._widths == self.info.crop)).all())

    def image(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3)."""
        return self.pair(index)[0]

    def pair(self, index: int) -> Pair:
        """The image and, where the data has pairs, its twin."""
        if self._pixels is None:
            return _decode(self.info, self.paths[index], self._twins)
        height, width, start = self._heights[index], self._widths[index], self._offsets[index]
        image, scale = self._stored(start, height, width), self.info.scale
        if not scale:
            return image, None
        return image, self._stored(start + image.size, height // scale, width // scale)

    def _stored(self, start: int, height: int, width: int) -> np.ndarray:
        return self._pixels[start : start + 3 * height * width].reshape(height, width, 3)


class FolderSplit:
    """One split of a plain folder, as it would be prepared."""

    whole = False  # sizes are not known before the images are read

    def __init__(
        self, root: Path, split: str, resize, crop, labels=True, inputs=None, **share: Any
    ) -> None:
        check_sizes(resize, crop)
        classes = find_classes(root) if labels else []
        files = find_images(root, classes, **share)[split]
        name, scale, self._twins = root.resolve().name, None, None
        if inputs:
            self._twins = find_twins(Path(inputs))
            scale = find_scale(root, (path for path, _ in files), self._twins, crop)
        about = (name, str(root), tuple(classes), {}, resize, crop, False, "", False, inputs, scale)
        self.info = DatasetInfo(*about)
        self.paths = [path for path, _ in files]
        for path in self.paths:
            if not is_utf8(path):
                raise UserError(f"{root}/{escaped(path)}: {NOT_UTF8}")
        self.labels = np.array([label for _, label in files])

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3)."""
        return self.pair(index)[0]

    def pair(self, index: int) -> Pair:
        """The image and, where the data has pairs, its twin."""
        return _decode(self.info, self.paths[index], self._twins)


def _decode(info: DatasetInfo, path: str, twins: dict[str, str] | None) -> Pair:
    twin = None if twins is None else twin_of(path, twins)
    try:
        sizes = (info.scale, info.resize, info.crop, info.objects)
        return read_pair(Path(info.root) / path, twin, *sizes)
    except BadImage as error:
        raise UserError(f"{Path(info.root) / path} {error}; mend or remove it") from None


def open_split(data: Path, split: str, resize: int | None = 256, crop: int = 224, **folder: Any):
    """``split`` (train or val) of a prepared data set, or of a plain folder.

    ``resize``, ``crop`` (pixels) and the arguments of ``FolderSplit`` apply to a plain folder; a
    prepared data set has its own.
    """
    if (data / "dataset.json").exists():
        return ImageSplit(data, split)
    return FolderSplit(data, split, resize, crop, **folder)


def scaled(task: Any, info: DatasetInfo) -> Any:
    """``task``; one that reads inputs takes its factor from the pairs of the data.

    Raises:
        UserError: it reads other inputs than the data was prepared with, or has another factor.
    """
    inputs = inputs_of(task)
    if not inputs or info.degraded:
        return task
    if not info.inputs or Path(info.inputs).resolve() != Path(inputs).resolve():
        given = f"with inputs {info.inputs}" if info.inputs else "without inputs"
        raise UserError(f"{info.root}: prepared {given}, not {inputs}; run 'ra prepare --inputs'")
    if task.factor not in (None, info.scale):
        raise UserError(f"factor: {task.factor}, but the pairs in {inputs} are 1:{info.scale}")
    return replace(task, factor=info.scale)


class Crops(Dataset):
    """Data set of batches: crops and degrades the images of a list of keys (seed, epoch, index).

    Training takes random crops and mirrors half of them; validation (epoch VALIDATION) takes the
    centre. Without a ``task``, the input is the clean crop.
    """

    def __init__(self, split: ImageSplit | FolderSplit, task: Any | None) -> None:
        self.split, self.task = split, task
        if inputs_of(task) and not split.info.scale:
            raise UserError(f"{split.info.root}: prepared without the inputs that its task reads")

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        crops, inputs, mirrored = zip(*(self._crop(key) for key in keys), strict=True)
        target = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        index = torch.tensor([index for _, _, index in keys])
        label = torch.from_numpy(self.split.labels[index.numpy()])
        degraded = target
        if inputs_of(self.task):
            degraded = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)
        elif self.task:
            degraded = self.task.degrade(target, keys)
        truth = self._truth(index.tolist(), mirrored) if self.split.info.objects else ()
        return Batch(degraded, target, label, index, torch.tensor(mirrored), *truth)

    def _truth(self, index: list[int], mirrored: Sequence[int]) -> tuple[Tensor | None, list]:
        """Masks and objects of the images; see ``Batch``."""
        info, paths = self.split.info, self.split.paths
        about = (info.classes, info.crop, info.masks)
        found = [
            truth_of(Path(info.root) / paths[i], *about, mirrored=bool(flip))
            for i, flip in zip(index, mirrored, strict=True)
        ]
        objects, masks = zip(*found, strict=True)
        moved = [{k: torch.from_numpy(v) for k, v in one.items()} for one in objects]
        return torch.from_numpy(np.stack(masks)) if info.masks else None, moved

    def _crop(self, key: Key) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Pixels (H, W, 3), those of the twin, and 1 where they are mirrored."""
        (image, twin), size = self.split.pair(key[2]), self.split.info.crop
        scale = self.split.info.scale or 1  # a crop begins at a pixel of the twin
        free = [(side - size) // scale for side in image.shape[:2]]
        if key[1] == VALIDATION:
            # torchvision's CenterCrop rounds half a pixel to even.
            top, left, mirror = round(free[0] / 2), round(free[1] / 2), 0
        else:
            y, x, flip = random_generator(key, 0).random(3)
            top, left, mirror = int(y * (free[0] + 1)), int(x * (free[1] + 1)), int(flip < 0.5)
        crops = []
        for part, step in ((image, scale), (twin, 1)):
            if part is not None:
                side = size * step // scale
                part = part[top * step :, left * step :][:side, :side]
                part = part[:, ::-1] if mirror else part
            crops.append(part)
        return crops[0], crops[1], mirror
