"""Answers of recognizers before and after a processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ra.data.degradations import VALIDATION, build_task, no_processing
from ra.data.images import resized
from ra.errors import UserError
from ra.inference.process import Processor, to_bytes, to_tensor
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_recognizer
from ra.models.recognizers import Recognizer, classifying, freeze
from ra.models.user_recognizer import load_user_recognizer

IMAGENET_CROP = 224  # pixels; pretrained classifiers were trained on it or more
FAR_LARGER = 2  # an image above this multiple of the training crop gets a warning


class Classifier(NamedTuple):
    """A recognizer with what a person needs to understand its answers.

    Attributes:
        name: its architecture, or the stem of the user's YAML file.
        classes: names of the classes, in the order of the logits.
        crop: side of the images that it takes as they are, in pixels; None if unknown.
    """

    name: str
    network: Recognizer
    classes: Sequence[str]
    crop: int | None = None

    def warning(self, size: tuple[int, int]) -> str | None:
        """Why the answers to images of ``size`` (width, height) mean little; None if they do."""
        if not self.crop or self.network.input_size or max(size) <= FAR_LARGER * self.crop:
            return None
        return (
            f"{self.name} was trained on {self.crop}-px images and classifies one of "
            f"{size[0]}x{size[1]} px: its answer may mean little; try --resize {self.crop}, or "
            f"cut the image"
        )


def open_classifier(name: str, device: torch.device | str = "cpu") -> Classifier:
    """A recognizer.safetensors, a user's YAML file, or a pretrained classifier by its name.

    A pretrained classifier has ImageNet's classes. Without ``classes`` in a YAML file the classes
    are called "logit 0" and so on.

    Raises:
        UserError: a file is missing or damaged, a name is unknown, or the logits are not those of
            ImageNet.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        network: Any = freeze(load_recognizer(path, device))
        if network.kind != "classifier":
            raise UserError(f"{path}: a {network.kind}; ra predict shows what classifiers answer")
        header = network.stored
        names = header["classes"] or [f"logit {number}" for number in range(network.outputs)]
        return Classifier(header["arch"], network, names, header.get("crop"))
    if path.suffix in (".yaml", ".yml"):
        network = freeze(load_user_recognizer(path).to(device))
        names = [f"logit {number}" for number in range(network.logits)]
        for text, logit in (network.classes or {}).items():
            names[logit] = text
        return Classifier(path.stem, network, names)
    from timm.data import ImageNetInfo

    network = freeze(build_recognizer(name, 1000, "IMAGENET1K_V1").to(device))
    names = [text.partition(",")[0] for text in ImageNetInfo().label_descriptions()]
    if network.kind != "classifier" or network.logits != len(names):
        what = f"a {network.kind} of {network.logits} classes"
        raise UserError(f"{name}: {what}; by name, only classifiers of ImageNet are known")
    return Classifier(name, network, names, IMAGENET_CROP)


def views(
    processor: Processor, image: np.ndarray, resize: int | None = None
) -> tuple[Tensor, Tensor]:
    """The images to classify, before and after the processor; each (1, 3, H, W) in [0, 1].

    Before is the image without processing, up-sampled bicubically if the processor up-scales.

    Args:
        image: degraded, uint8 (h, w, 3).
        resize: side in pixels of the middle square to classify; None is the whole image.
    """
    before = no_processing(to_tensor(image) / 255, processor.scale)
    after = to_tensor(processor.pixels(image)) / 255
    before, after = (_middle(view, resize).to(processor.device) for view in (before, after))
    return before, after


@torch.inference_mode()
def classify(classifier: Classifier, view: Tensor) -> tuple[str, float]:
    """(class, confidence in percent) of an image (1, 3, H, W) in [0, 1].

    Raises:
        UserError: the image is too small for the network.
    """
    height, width = view.shape[2:]
    with classifying(classifier.name, height, width, "give a --resize"):
        probability, label = classifier.network(view)[0].softmax(0).max(0)
    return classifier.classes[int(label)], 100 * float(probability)


def degrade(clean: np.ndarray, processor: Processor, number: int) -> np.ndarray:
    """Degrade an image as the processor's task does; both are uint8 (h, w, 3).

    Sides are cut to multiples of the task's scale. ``number`` seeds random degradations.
    """
    task = build_task(processor.stored["task"], **processor.stored.get("task_settings", {}))
    height, width = (side - side % task.scale for side in clean.shape[:2])
    if not height or not width:
        raise UserError(f"is {clean.shape[1]}x{clean.shape[0]} px, too small to be degraded")
    degraded = task.degrade(to_tensor(clean[:height, :width]), [(0, VALIDATION, number)])
    if degraded.is_floating_point():
        return to_bytes(degraded)
    return degraded[0].permute(1, 2, 0).numpy()


def _middle(image: Tensor, resize: int | None) -> Tensor:
    """The middle square of ``resize`` pixels of (1, 3, H, W), its shorter side resized to that."""
    if resize is None:
        return image
    whole = Image.fromarray(to_bytes(image))
    size = resized(whole.size, resize)
    if size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise UserError(f"is {whole.width}x{whole.height} px: too long and narrow for --resize")
    whole = whole.resize(size, Image.Resampling.BILINEAR)
    left, top = (whole.width - resize) // 2, (whole.height - resize) // 2
    return to_tensor(np.asarray(whole.crop((left, top, left + resize, top + resize)))) / 255


def table(answers: pd.DataFrame) -> str:
    """A Markdown table of ``answers`` that marks what changed.

    Args:
        answers: image, recognizer, before, before_p, after, after_p (both in percent).
    """
    changed = answers["before"] != answers["after"]
    shown = answers[["image", "recognizer"]].copy()
    for when in ("before", "after"):
        shown[when] = answers[when] + answers[f"{when}_p"].map(" {:.1f} %".format)
    shown["changed"] = changed.map({True: "yes", False: ""})
    return shown.to_markdown(index=False)


def summary(answers: pd.DataFrame) -> str:
    """How many answers changed, and how sure the recognizers are."""
    changed = (answers["before"] != answers["after"]).sum()
    before, after = answers["before_p"].mean(), answers["after_p"].mean()
    return (
        f"predict: {changed} of {len(answers)} answers changed; "
        f"mean confidence {before:.1f} % before, {after:.1f} % after"
    )
