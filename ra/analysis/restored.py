"""Validation images as a stored P restores them: what several analyses look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.images import BadImage, read_image
from ra.data.splits import Batch, Crops
from ra.errors import UserError
from ra.models.checkpoints import load_processor, load_recognizer, read_header
from ra.models.recognizers import freeze
from ra.runtime.cpu import placed


def task_of(files: Sequence[Path]):
    """(header of the first P, its task); UserError where the P's are not for one and the same."""
    headers = [read_header(path) for path in files]
    for path, header in zip(files, headers, strict=True):
        for key in ("task", "task_settings", "dataset"):
            if header.get(key) != headers[0].get(key):
                raise UserError(
                    f"{path}: trained for {key} {header.get(key)}, but {files[0]} for "
                    f"{headers[0].get(key)}; compare P's of one experiment"
                )
    first = headers[0]
    return first, build_task(first["task"], **first.get("task_settings", {}))


def chosen_images(total: int, count: int, seed: int) -> list[int]:
    """``count`` of ``total`` validation images (all, if there are fewer), in the split's order."""
    order = np.random.default_rng(seed).permutation(total)
    return sorted(int(index) for index in order[:count])


@torch.inference_mode()
def restored(
    split, task, files: Sequence[Path | None], images: Sequence[int], where, batch: int = 50
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Batches of the validation ``images`` and what each P of ``files`` makes of their inputs.

    Each output is float (n, 3, H, W) in [0, 1] on ``where``; None stands for no processing.
    """
    crops = Crops(split, task)
    networks = [placed(load_processor(path), where) if path else None for path in files]
    for begin in range(0, len(images), batch):
        keys = [(0, VALIDATION, index) for index in images[begin : begin + batch]]
        got = crops.__getitems__(keys).to(where)
        outputs = [p(got.input) if p else no_processing(got.input, task.scale) for p in networks]
        yield got, [output.clamp(0, 1) for output in outputs]


@torch.inference_mode()
def predict_labels(recognizer: Path, files: Sequence[Path], where, batch: int = 100) -> list[str]:
    """The class name that a stored R sees in each image file; neighbours of one size go together.

    Raises:
        UserError: an image that cannot be read, or an R whose header names no classes.
    """
    r = placed(freeze(load_recognizer(recognizer)), where)
    names = []
    waiting: list[np.ndarray] = []

    def answer() -> None:
        if waiting:
            images = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2).to(where)
            names.extend(r.stored["classes"][k] for k in r(images.float() / 255).argmax(1).tolist())
            waiting.clear()

    for file in files:
        try:
            image = read_image(file)
        except BadImage as error:
            raise UserError(f"{file} {error}") from None
        if waiting and (image.shape != waiting[0].shape or len(waiting) == batch):
            answer()
        waiting.append(image)
    answer()
    return names
