"""``ra predict-label``: a stored recognizer as a program that prints a label a file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from ra.data.images import BadImage, read_image
from ra.errors import UserError
from ra.models.checkpoints import load_recognizer
from ra.models.recognizers import freeze
from ra.runtime.devices import placed


@torch.inference_mode()
def predict_labels(recognizer: Path, files: Sequence[Path], where, batch: int = 100) -> list[str]:
    """The predicted class name of each image file; neighbours of one size share a batch.

    Raises:
        UserError: an image that cannot be read.
    """
    network = placed(freeze(load_recognizer(recognizer)), where)
    names = []
    for begin in range(0, len(files), batch):
        read = map(_read, files[begin : begin + batch])
        for _, same in groupby(read, key=lambda image: image.shape):
            images = torch.from_numpy(np.stack(list(same))).permute(0, 3, 1, 2).to(where)
            labels = network(images.float() / 255).argmax(1).tolist()
            names += [network.stored["classes"][label] for label in labels]
    return names


def _read(file: Path) -> np.ndarray:
    try:
        return read_image(file)
    except BadImage as error:
        raise UserError(f"{file} {error}") from None
