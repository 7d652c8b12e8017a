"""Segmenters as recognizers: DeepLabV3, LR-ASPP and FCN of torchvision, and a tiny one.

Sources: Chen et al., Rethinking Atrous Convolution (2017); Howard et al., Searching for
MobileNetV3 (ICCV 2019), both in torchvision's implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ra.data.voc import VOID
from ra.errors import UserError
from ra.models.recognizers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Recognizer,
    TinyBackbone,
    backbone_weights,
    fetch_weights,
)
from ra.settings.shared import SCRATCH

if TYPE_CHECKING:
    from ra.data.splits import Batch

TINY = "tiny_segmenter"


class Segmenter(Recognizer):
    """A segmenter of ``classes`` and the background, which is class 0.

    answers: images (N, 3, H, W) in [0, 1] -> logits (N, 1 + classes, H, W).
    """

    kind = "segmenter"
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.logits, self.input_size = network, classes, None
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def answers(self, images: Tensor) -> Tensor:
        logits = self.network((images - self.mean) / self.std)
        return logits["out"] if isinstance(logits, dict) else logits

    def loss(self, images: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the pixels; void ones do not count."""
        return F.cross_entropy(self(images), _mask(batch).long(), ignore_index=VOID)

    def probabilities(self, images: Tensor) -> Tensor:
        return self(images).softmax(dim=1)

    def labelled(self, batch: Batch, answers: Tensor | None = None) -> Batch:
        answers = self(batch.target) if answers is None else answers
        return batch._replace(mask=answers.argmax(dim=1).to(torch.uint8))

    def compare(self, answers: Tensor, batch: Batch) -> dict[str, Any]:
        """Pixels of each image that answer and mask share, and that either has, by class."""
        mask, found = _mask(batch).long(), answers.argmax(dim=1)
        known, count = (mask != VOID)[:, None], answers.shape[1]
        ours, theirs = (
            F.one_hot(one.clamp(max=count - 1), count).movedim(3, 1).bool() & known
            for one in (found, mask)
        )
        pixels = [part.sum(dim=(2, 3)) for part in (ours & theirs, ours | theirs)]
        return {"pixels": torch.stack(pixels, dim=1).cpu()}

    def draw(self, axes: Any, image: Tensor, classes: Sequence[str]) -> None:
        """The regions of each class, as colours."""
        found = self(image[None])[0].argmax(dim=0).numpy()
        for label in sorted(set(found.ravel().tolist()) - {0}):
            axes.contour(found == label, levels=[0.5], colors=f"C{label % 10}", linewidths=1.2)
            y, x = (float(part.mean()) for part in (found == label).nonzero())
            axes.text(x, y, classes[label - 1], fontsize=6, color="white")


def _mask(batch: Batch) -> Tensor:
    if batch.mask is None:
        raise UserError("a segmenter needs images with masks, as a VOC tree of segmentation has")
    return batch.mask


class TinySegmenter(nn.Sequential):
    """The backbone of the tiny detector and a classifier of its cells; (N, 3, H, W) in and out."""

    def __init__(self, outputs: int) -> None:
        super().__init__(TinyBackbone(), nn.Conv2d(TinyBackbone.out_channels, outputs, 1))

    def forward(self, images: Tensor) -> Tensor:
        cells = super().forward(images)
        return F.interpolate(cells, images.shape[-2:], mode="bilinear", align_corners=False)


def list_segmenters() -> list[str]:
    """``tiny_segmenter``, which trains on two cores, and those of torchvision."""
    return [TINY, *torchvision.models.list_models(module=torchvision.models.segmentation)]


def build_segmenter(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Segmenter:
    """A segmenter for images of any size.

    Args:
        arch: one of ``list_segmenters``.
        weights: ``scratch``; torchvision's name for the whole network (its classes are VOC's), or
            for the backbone.
        input_size: not used.
    """
    if arch == TINY:
        return Segmenter(TinySegmenter(num_classes + 1), num_classes)
    whole = torchvision.models.get_model_weights(arch).__members__
    options: dict[str, Any] = {"weights": None, "weights_backbone": None}
    file = ""
    if weights in whole:
        options["weights"], file = whole[weights], whole[weights].url.rpartition("/")[2]
        num_classes = len(whole[weights].meta["categories"]) - 1
    elif weights != SCRATCH:
        options["weights_backbone"], file = backbone_weights(arch, weights)
    options["num_classes"] = num_classes + 1
    network = fetch_weights(lambda: torchvision.models.get_model(arch, **options), file)
    network.aux_classifier = None  # that of whole networks, which only their own training used
    segmenter = Segmenter(network, num_classes)
    segmenter.trained = weights in whole
    return segmenter
