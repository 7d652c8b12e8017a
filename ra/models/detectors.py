"""Detectors as recognizers: Faster R-CNN and its losses, also of a fixed one.

Source: Ren et al., Faster R-CNN (NIPS 2015), in torchvision's implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

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

Objects = dict[str, Tensor]  # boxes (n, 4), labels (n), and scores (n) or difficult (n)
TINY = "tiny_detector"
ANCHORS = (0.25, 0.4, 0.6)  # of the tiny detector, in sides of the image
SURE = 0.5  # least score of an answer that is drawn, or taken for an object


class Detector(Recognizer):
    """A Faster R-CNN.

    answers: images (N, 3, H, W) in [0, 1] -> for each image boxes (n, 4; left, top, right, bottom
    in pixels), labels (n, from 1) and scores (n).
    """

    kind = "detector"

    def __init__(self, network: FasterRCNN, classes: int, side: int) -> None:
        super().__init__()
        self.network, self.logits, self.input_size = network, classes, side

    def answers(self, images: Tensor) -> list[Objects]:
        return self.network(list(images))

    def loss(self, images: Tensor, batch: Batch) -> Tensor:
        """Sum of the four losses of Faster R-CNN, of a detector in either mode.

        torchvision gives losses in training mode only; batch norm and dropout keep the mode that
        they are in, so that a frozen detector does not change. The proposals that count are drawn
        from torch's generator.
        """
        net = self.network
        deciding: tuple[nn.Module, ...] = (net, net.transform, net.rpn, net.roi_heads)
        before = [module.training for module in deciding]
        for module in deciding:
            module.training = True
        try:
            losses = net(list(images), targets_of(_objects(batch)))
        finally:
            for module, mode in zip(deciding, before, strict=True):
                module.training = mode
        return sum(losses.values())

    def labelled(self, batch: Batch, answers: Any = None) -> Batch:
        answers = self(batch.target) if answers is None else answers
        sure = [{key: one[key][one["scores"] >= SURE] for key in one} for one in answers]
        objects = [{**one, "difficult": one["labels"] < 0} for one in sure]
        return batch._replace(objects=objects)

    def compare(self, answers: list[Objects], batch: Batch) -> dict[str, Any]:
        """Answers and objects of each image."""
        pairs = zip(answers, _objects(batch), strict=True)
        here = (({k: v.cpu() for k, v in one.items()} for one in pair) for pair in pairs)
        return {"objects": [tuple(pair) for pair in here]}

    def draw(self, axes: Any, image: Tensor, classes: Sequence[str]) -> None:
        """Boxes with class and score."""
        from matplotlib.patches import Rectangle

        [found] = self(image[None])
        parts = (found[key].tolist() for key in ("boxes", "labels", "scores"))
        for (left, top, right, bottom), label, score in zip(*parts, strict=True):
            if score >= SURE:
                colour = f"C{label % 10}"
                frame: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": 1.6}
                axes.add_patch(Rectangle((left, top), right - left, bottom - top, **frame))
                look = {"fontsize": 6, "color": "white", "backgroundcolor": colour}
                axes.text(left, top, f"{classes[label - 1]} {score:.2f}", **look)


def _objects(batch: Batch) -> list[Objects]:
    if batch.objects is None:
        raise UserError("a detector needs images with objects, as a VOC tree has them")
    return batch.objects


def targets_of(objects: Sequence[Objects]) -> list[Objects]:
    """Targets of torchvision's detectors: without difficult objects, as VOC advises."""
    kept = [{**one, "keep": ~one["difficult"]} for one in objects]
    return [{key: one[key][one["keep"]] for key in ("boxes", "labels")} for one in kept]


def list_detectors() -> list[str]:
    """``tiny_detector``, which trains on two cores, and the Faster R-CNNs of torchvision."""
    known = torchvision.models.list_models(module=torchvision.models.detection)
    return [TINY, *(name for name in known if name.startswith("fasterrcnn"))]


def build_detector(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Detector:
    """A Faster R-CNN for square images.

    Args:
        arch: one of ``list_detectors``.
        weights: ``scratch``, or torchvision's name for weights of the backbone of a larger arch.
        input_size: side of the images, pixels; 800 where None.
    """
    side = input_size or 800
    sizes = {"min_size": side, "max_size": side}
    if arch == TINY:
        network = _tiny(num_classes + 1, side, sizes)
    else:
        backbone, file = backbone_weights(arch, weights) if weights != SCRATCH else (None, "")
        options = {"weights": None, "weights_backbone": backbone, "num_classes": num_classes + 1}
        network = fetch_weights(
            lambda: torchvision.models.get_model(arch, **options, **sizes), file
        )
    return Detector(network, num_classes, side)


def _tiny(outputs: int, side: int, sizes: dict[str, int]) -> FasterRCNN:
    anchors = tuple(round(share * side) for share in ANCHORS)
    return FasterRCNN(
        TinyBackbone(),
        rpn_anchor_generator=AnchorGenerator((anchors,), ((0.6, 1.0, 1.6),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2),
        box_head=TwoMLPHead(TinyBackbone.out_channels * 25, 128),
        box_predictor=FastRCNNPredictor(128, outputs),
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=64,
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=64,
        rpn_post_nms_top_n_test=50,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
        **sizes,
    )
