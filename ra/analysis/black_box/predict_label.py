"""``ra predict-label``: a stored recognizer as a program that prints a label a file."""

from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from ra.analysis.command_settings import PredictLabel
from ra.data.images import BadImage, read_image
from ra.errors import UserError
from ra.models.checkpoints import load_recognizer
from ra.models.recognizers import freeze
from ra.runtime.devices import placed, use_device


@torch.inference_mode()
def predict_label(o: PredictLabel, batch: int = 100) -> None:
    """Print the predicted class name of each image file; neighbours of one size share a batch.

    Raises:
        UserError: an image that cannot be read.
    """
    with use_device(o.machine) as where:
        recognizer = placed(freeze(load_recognizer(o.recognizer)), where)
        for begin in range(0, len(o.files), batch):
            read = map(_read, o.files[begin : begin + batch])
            for _, same in groupby(read, key=lambda image: image.shape):
                images = torch.from_numpy(np.stack(list(same))).permute(0, 3, 1, 2).to(where)
                for label in recognizer(images.float() / 255).argmax(1).tolist():
                    print(recognizer.stored["classes"][label])


def _read(file: Path) -> np.ndarray:
    try:
        return read_image(file)
    except BadImage as error:
        raise UserError(f"{file} {error}") from None
