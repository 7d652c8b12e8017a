"""Outputs of stored processors on validation images, which several analyses look at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.splits import Batch, Crops
from ra.errors import UserError
from ra.models.checkpoints import load_processor, read_header
from ra.runtime.devices import placed


def shared_task(files: Sequence[Path], also: Sequence[str] = ()) -> tuple[Sequence[dict], Any]:
    """(headers, task) of processors that were all trained for one task.

    Args:
        also: further keys of the header in which the processors must agree.

    Raises:
        UserError: names the first file that differs, and the key.
    """
    headers = [read_header(path) for path in files]
    first = headers[0]
    for path, header in zip(files, headers, strict=True):
        for key in ("task", "task_settings", *also):
            if header.get(key) != first.get(key):
                raise UserError(
                    f"{path}: trained for {key} {header.get(key)}, but {files[0]} for "
                    f"{first.get(key)}; compare processors of one experiment"
                )
    return headers, build_task(first["task"], **first.get("task_settings", {}))


def draw_images(total: int, count: int, seed: int) -> list[int]:
    """``count`` of ``total`` validation images (all, if there are fewer), in the split's order."""
    order = np.random.default_rng(seed).permutation(total)
    return sorted(int(index) for index in order[:count])


@torch.inference_mode()
def outputs(
    split, task, files: Sequence[Path | None], images: Sequence[int], where, batch: int = 50
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Batches of the validation ``images`` and the output of every processor for their inputs.

    Each output is float (n, 3, H, W) in [0, 1] on ``where``; None stands for no processing.
    """
    crops = Crops(split, task)
    processors = [placed(load_processor(path), where) if path else None for path in files]
    for begin in range(0, len(images), batch):
        keys = [(0, VALIDATION, index) for index in images[begin : begin + batch]]
        got = crops.__getitems__(keys).to(where)
        made = [p(got.input) if p else no_processing(got.input, task.scale) for p in processors]
        yield got, [output.clamp(0, 1) for output in made]
