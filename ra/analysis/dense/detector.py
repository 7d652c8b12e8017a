"""Detectors as recognizers: Faster R-CNN, its training, and training through it.

Source: Ren et al., Faster R-CNN (NIPS 2015), in torchvision's implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from ra.analysis.dense.voc import DetectionBatch
from ra.data.degradations import no_processing
from ra.errors import UserError, unknown
from ra.models.checkpoints import build, read_model
from ra.models.recognizers import IMAGENET_MEAN, IMAGENET_STD, fetch_weights
from ra.runtime.devices import placed
from ra.settings.shared import SCRATCH
from ra.training.objectives import Objective

Objects = dict[str, Tensor]  # boxes (n, 4), labels (n), and scores (n) or difficult (n)
TINY = "tiny"
ANCHORS = (0.2, 0.32, 0.46)  # of the tiny detector, in sides of the image


class TinyBackbone(nn.Sequential):
    """Six 3x3 convolutions with batch norm, stride 8; (N, 3, H, W) -> (N, 96, H/8, W/8)."""

    out_channels = 96

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        widths = (3, 24, 32, 48, 64, 96, 96)
        for number, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if number % 2 == 0 else 1
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


def build_detector(
    arch: str, classes: Sequence[str], side: int, weights: str = SCRATCH
) -> FasterRCNN:
    """A Faster R-CNN for square images of ``side`` pixels in [0, 1].

    Args:
        arch: ``tiny`` (trains on two cores), or torchvision's name: fasterrcnn_resnet50_fpn.
        classes: names in the order of labels, from 1.
        weights: ``scratch``, or torchvision's name for weights of the backbone of a larger arch.
    """
    sizes = {"min_size": side, "max_size": side, "num_classes": len(classes) + 1}
    if arch == TINY:
        anchors = tuple(round(share * side) for share in ANCHORS)
        pool = MultiScaleRoIAlign(["0"], output_size=5, sampling_ratio=2)
        model = FasterRCNN(
            TinyBackbone(),
            rpn_anchor_generator=AnchorGenerator((anchors,), ((0.6, 1.0, 1.6),)),
            box_roi_pool=pool,
            box_head=TwoMLPHead(TinyBackbone.out_channels * 25, 128),
            box_predictor=FastRCNNPredictor(128, len(classes) + 1),
            rpn_batch_size_per_image=64,
            box_batch_size_per_image=64,
            rpn_pre_nms_top_n_train=200,
            rpn_pre_nms_top_n_test=200,
            rpn_post_nms_top_n_train=64,
            rpn_post_nms_top_n_test=50,
            image_mean=IMAGENET_MEAN,
            image_std=IMAGENET_STD,
            **{key: sizes[key] for key in ("min_size", "max_size")},
        )
    else:
        known = torchvision.models.list_models(module=torchvision.models.detection)
        known = [TINY, *(name for name in known if name.startswith("fasterrcnn"))]
        if arch not in known:
            raise unknown("detector", arch, known)
        backbone, file = _backbone(arch, weights) if weights != SCRATCH else (None, "")
        options = {"weights": None, "weights_backbone": backbone, **sizes}
        model = fetch_weights(lambda: torchvision.models.get_model(arch, **options), file)
    model.header = {"arch": arch, "classes": list(classes), "side": side}
    return model


def _backbone(arch: str, weights: str):
    """torchvision's weights for the backbone of ``arch``, and the name of their file."""
    name = "resnet50" if "resnet50" in arch else "mobilenet_v3_large"
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known:
        raise unknown(f"weights of {name}", weights, known)
    return known[weights], known[weights].url.rpartition("/")[2]


def load_detector(path: Path) -> FasterRCNN:
    """A stored detector, frozen: evaluation mode, no gradients on its weights."""
    header, state = read_model(path, ("detector",))
    detector = build(path, lambda: build_detector(**header["network"]), state)
    detector.stored = header
    return detector.eval().requires_grad_(False)


def targets_of(objects: Sequence[Objects]) -> list[Objects]:
    """Targets of torchvision's detectors: without difficult objects, as VOC advises."""
    kept = [{**one, "keep": ~one["difficult"]} for one in objects]
    return [{key: one[key][one["keep"]] for key in ("boxes", "labels")} for one in kept]


def detection_loss(detector: FasterRCNN, images: Tensor, objects) -> Tensor:
    """Sum of the four losses of Faster R-CNN, of a detector in either mode.

    torchvision gives losses in training mode only; batch norm and dropout keep the mode that they
    are in, so that a frozen detector does not change. The proposals that count are drawn from
    torch's generator.
    """
    deciding = (detector, detector.transform, detector.rpn, detector.roi_heads)
    before = [module.training for module in deciding]
    for module in deciding:
        module.training = True
    try:
        losses = detector(list(images), targets_of(objects))
    finally:
        for module, mode in zip(deciding, before, strict=True):
            module.training = mode
    return sum(losses.values())


class DetectorTraining(Objective):
    """A detector's own training on clean images."""

    def __init__(self, detector: FasterRCNN) -> None:
        self.modules = {"detector": detector}

    def losses(self, batch: DetectionBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Scalars by name; "total" is minimised."""
        return {"total": detection_loss(self.modules["detector"], batch.target, batch.objects)}


class DetectionAware(Objective):
    """MSE + lambda * (losses of the fixed detector on the processor's output)."""

    def losses(self, batch: DetectionBatch) -> dict[str, Tensor]:  # type: ignore[override]
        """Scalars by name; "total" is minimised."""
        output = self.modules["processor"](batch.input)
        image = F.mse_loss(output, batch.target)
        recognition = detection_loss(self.recognizer, output, batch.objects)
        total = image + self.weight * recognition
        return {"total": total, "image": image, "recognition": recognition}


@torch.inference_mode()
def detect(
    detector: FasterRCNN,
    processors: dict[str, nn.Module | None],
    batches: DataLoader,
    scale: int,
    where: torch.device,
    show: int = 4,
) -> tuple[dict[str, list[Objects]], list[Objects], dict[str, Tensor]]:
    """Detections of every image by processor, its true objects, and the first images to look at.

    All are on the CPU.

    Args:
        processors: by name; None is no processing. ``clean`` is added: the image undegraded.
        scale: the task's up-scaling factor.
        show: images to look at.
    """
    placed(detector, where).eval()
    found: dict[str, list[Objects]] = {name: [] for name in ("clean", *processors)}
    shown: dict[str, Tensor] = {}
    truth = []
    for batch in batches:
        batch = batch.to(where)
        views = {"clean": batch.target}
        for name, p in processors.items():
            output = p(batch.input) if p else no_processing(batch.input, scale)
            views[name] = output.clamp(0, 1)
        for name, images in views.items():
            found[name] += [{k: v.cpu() for k, v in one.items()} for one in detector(list(images))]
            shown.setdefault(name, images[:show].cpu())
        truth += [{k: v.cpu() for k, v in one.items()} for one in batch.objects]
    if not any((~one["difficult"]).any() for one in truth):
        raise UserError("the images hold no object, or only difficult ones; mAP needs others")
    return found, truth, shown
