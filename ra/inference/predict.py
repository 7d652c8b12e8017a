"""What chosen R's answer before and after P."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from torch import Tensor

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.images import resized, to_rgb
from ra.errors import UserError
from ra.inference.process import Processor, read
from ra.models.checkpoints import load_recognizer, read_header
from ra.models.recognizers import Recognizer, build_recognizer, freeze, read_classes
from ra.models.user_recognizer import load_user_recognizer


def open_recognizer(name: str, device="cpu") -> tuple[str, Recognizer, list[str]]:
    """(name, R, class names) of a recognizer.safetensors, a YAML file or a pretrained classifier.

    A pretrained classifier answers with ImageNet's own names.
    """
    if name.endswith(".safetensors"):
        header = read_header(Path(name))
        return header["arch"], freeze(load_recognizer(Path(name), device)), header["classes"]
    if name.endswith((".yaml", ".yml")):
        recognizer = freeze(load_user_recognizer(Path(name)).to(device))
        names = [f"logit {number}" for number in range(recognizer.logits)]
        if "classes" in yaml.safe_load(Path(name).read_text(encoding="utf-8")):
            for text, logit in read_classes(Path(name)).items():
                names[logit] = text
        return Path(name).stem, recognizer, names
    from timm.data import ImageNetInfo

    recognizer = freeze(build_recognizer(name, 1000, "IMAGENET1K_V1").to(device))
    names = [text.partition(",")[0] for text in ImageNetInfo().label_descriptions()]
    if recognizer.logits != len(names):
        raise UserError(f"{name}: has {recognizer.logits} logits, which are not ImageNet's classes")
    return name, recognizer, names


@torch.inference_mode()
def predict(
    processor: Processor,
    recognizers: Sequence[str],
    paths: Sequence[Path],
    resize: int | None = None,
    degrade: bool = False,
) -> pd.DataFrame:
    """One row per image and R: image, recognizer, before, before_p, after, after_p (both in %).

    "Before" is R's answer to the image without processing (for sr: up-sampled bicubically).

    Args:
        recognizers: as ``open_recognizer`` takes them.
        resize: shorter side in pixels of what R reads, cut to a square in the middle; None lets
            R read the whole image at its size.
        degrade: the images are clean ones, to be degraded by P's task first.
    """
    judges = [open_recognizer(name, processor.device) for name in recognizers]
    rows = []
    for number, path in enumerate(paths):
        degraded = np.asarray(to_rgb(read(path)))
        if degrade:
            degraded = _degraded(degraded, processor, number)
        inputs = torch.from_numpy(degraded.copy()).permute(2, 0, 1)[None] / 255
        unprocessed = no_processing(inputs.float(), processor.scale)
        restored = torch.from_numpy(processor.pixels(degraded)).permute(2, 0, 1)[None] / 255
        views = [_view(image, resize).to(processor.device) for image in (unprocessed, restored)]
        for name, recognizer, classes in judges:
            row = {"image": str(path), "recognizer": name}
            for when, view in zip(("before", "after"), views, strict=True):
                probability, label = recognizer(view)[0].softmax(0).max(0)
                row |= {when: classes[int(label)], f"{when}_p": 100 * float(probability)}
            rows.append(row)
    return pd.DataFrame(rows)


def _degraded(clean: np.ndarray, processor: Processor, number: int) -> np.ndarray:
    """uint8 (h, w, 3) as P's task degrades it; sides are cut to what the task divides."""
    task = build_task(processor.stored["task"], **processor.stored.get("task_settings", {}))
    height, width = (side - side % task.scale for side in clean.shape[:2])
    crops = torch.from_numpy(clean[:height, :width].copy()).permute(2, 0, 1)[None]
    degraded = task.degrade(crops, [(0, VALIDATION, number)])
    if degraded.is_floating_point():
        degraded = (degraded * 255).round().byte()
    return degraded[0].permute(1, 2, 0).numpy()


def _view(image: Tensor, resize: int | None) -> Tensor:
    """What R reads of an image (1, 3, H, W) in [0, 1]: all of it, or a resized centre crop."""
    if resize is None:
        return image
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    whole = Image.fromarray(pixels)
    whole = whole.resize(resized(whole.size, resize), Image.Resampling.BILINEAR)
    left, top = (whole.width - resize) // 2, (whole.height - resize) // 2
    square = np.asarray(whole.crop((left, top, left + resize, top + resize)))
    return torch.from_numpy(square.copy()).permute(2, 0, 1)[None] / 255
