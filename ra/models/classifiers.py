"""Classifiers of images in [0, 1], by any name that torchvision or timm knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.errors import UserError, unknown
from ra.models.recognizers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Recognizer,
    TinyBackbone,
    cache_folder,
    fetch_weights,
)
from ra.settings.shared import SCRATCH

if TYPE_CHECKING:
    from ra.data.splits import Batch

TINY = "tiny_classifier"
# Heads of GoogLeNet and Inception that only their own training uses.
AUXILIARY = ("AuxLogits", "aux1", "aux2")


class Classifying(Recognizer):
    """What all classifiers share; their answers are logits (N, classes)."""

    kind = "classifier"

    def loss(self, images: Tensor, batch: Batch) -> Tensor:
        # An image without an object, whose label is -1, does not count.
        return F.cross_entropy(self(images), batch.label, ignore_index=-1)

    def training_losses(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        logits = self(images)
        accuracy = (logits.detach().argmax(dim=1) == batch.label).float().mean()
        loss = F.cross_entropy(logits, batch.label, ignore_index=-1)
        return {"total": loss, "accuracy": accuracy}

    def probabilities(self, images: Tensor) -> Tensor:
        return self(images).softmax(dim=1)

    def labelled(self, batch: Batch, answers: Tensor | None = None) -> Batch:
        answers = self(batch.target) if answers is None else answers
        return batch._replace(label=answers.argmax(dim=1))

    def compare(self, answers: Tensor, batch: Batch) -> dict[str, Any]:
        """Prediction, top-1 and top-5 hits, and cross-entropy of each image."""
        logits = answers.float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hit = best == batch.label[:, None]
        return {
            "prediction": best[:, 0],
            "top1": hit[:, 0].to(torch.uint8),
            "top5": hit.any(dim=1).to(torch.uint8),
            "recognition_loss": F.cross_entropy(
                logits, batch.label, reduction="none", ignore_index=-1
            ),
        }


class Classifier(Classifying):
    """A classifier with its own normalisation, input size and choice of logits.

    answers: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The gradient flows through
    the normalisation. Of several outputs (auxiliary heads) the main one is taken.

    Attributes:
        classes: the logit of each class by name, where a user's file tells them.

    Args:
        classifier: normalised images -> logits.
        logits: number of logits of the classifier.
        input_size: side in pixels to which images are resized; None takes them as they are.
        class_index: logit of each class of the data set; None takes all logits.
    """

    mean: Tensor
    std: Tensor
    class_index: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        logits: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        input_size: int | None = None,
        class_index: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.classifier, self.logits, self.input_size = classifier, logits, input_size
        self.header: dict[str, object] = {}
        self.classes: dict[str, int] | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        index = torch.tensor([] if class_index is None else class_index, dtype=torch.long)
        self.register_buffer("class_index", index)

    @property
    def outputs(self) -> int:
        """Number of logits that ``forward`` returns."""
        return len(self.class_index) or self.logits

    def answers(self, images: Tensor) -> Tensor:
        size = (self.input_size, self.input_size)
        if self.input_size and images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        logits = self.classifier((images - self.mean) / self.std)
        logits = getattr(logits, "logits", logits)
        return logits[:, self.class_index] if len(self.class_index) else logits

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features): features (N, channels) are the input of the classifier's last layer.

        Raises:
            UserError: the classifier is a program, whose layers are not accessible.
        """
        layers = [m for m in self.classifier.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        if not layers:
            raise UserError(
                "the recognizer is a program without accessible layers; perceptual needs another"
            )
        kept: list[Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        try:
            return self(images), kept[0].flatten(1)
        finally:
            hook.remove()

    def select(self, class_index: Sequence[int]) -> Classifier:
        """Keep only these logits, one for each class of the data set, in this order."""
        for logit in class_index:
            if not 0 <= logit < self.logits:
                raise UserError(
                    f"class mapping: there is no logit {logit}; the recognizer has {self.logits}"
                )
        if len(set(class_index)) < len(class_index):
            raise UserError("class mapping: two classes share one logit")
        self.class_index = torch.tensor(class_index, dtype=torch.long, device=self.mean.device)
        return self


class Ensemble(Classifying):
    """Several recognizers as one: logits are the logarithm of the mean of their probabilities.

    answers: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The mean of the logits would
    reward images on which the members disagree: docs/analysis.md compares both.
    """

    members: Any  # nn.ModuleList of classifiers

    def __init__(self, members: Sequence[Recognizer]) -> None:
        super().__init__()
        self.header = {}
        self.members = nn.ModuleList(members)

    @property
    def outputs(self) -> int:
        """Number of logits that ``answers`` returns."""
        return self.members[0].outputs

    def answers(self, images: Tensor) -> Tensor:
        return _mean_probability([member(images) for member in self.members])

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features of all members side by side)."""
        both = (member.with_features(images) for member in self.members)
        logits, features = zip(*both, strict=True)
        return _mean_probability(logits), torch.cat(features, dim=1)


def _mean_probability(logits: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Logarithm of the mean of the softmaxes; the softmax of that is the mean."""
    return torch.stack(logits).log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))


def list_classifiers() -> list[str]:
    """``tiny_classifier`` and torchvision's classifiers; timm's come as ``timm:NAME``."""
    from torchvision import models  # here: a second of imports that only its users pay

    return [TINY, *models.list_models(module=models)]


def build_classifier(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Classifier:
    """As ``build_recognizer``, of classifiers alone."""
    if arch == TINY:
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, num_classes))
        classifier = Classifier(nn.Sequential(TinyBackbone(), *head), num_classes)
    elif arch in list_classifiers():
        classifier = _torchvision(arch, num_classes, weights, input_size)
    else:
        classifier = _timm(arch, num_classes, weights)
    classifier.input_size = input_size or classifier.input_size
    classifier.trained = weights != SCRATCH
    return classifier


def _torchvision(arch: str, num_classes: int, weights: str, input_size: int | None) -> Classifier:
    from torchvision import models

    model: Any
    # Some weights have no last layer (vgg16's IMAGENET1K_FEATURES).
    known = models.get_model_weights(arch).__members__.items()
    options = {name: choice for name, choice in known if choice.meta["categories"]}
    auxiliary = arch in ("googlenet", "inception_v3")
    if weights == SCRATCH:
        side = input_size or _side(next(iter(options.values())))
        extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if auxiliary else {}
        if arch.startswith("vit_") and side:
            extra["image_size"] = side
        try:
            model = models.get_model(arch, num_classes=num_classes, **extra)
        except AssertionError as error:
            raise UserError(f"{arch}: input_size {side} does not fit ({error})") from None
        return Classifier(model, num_classes, input_size=side)
    if weights not in options:
        raise unknown(f"weights of {arch}", weights, options)
    choice = options[weights]
    name = choice.url.rpartition("/")[2]
    model = fetch_weights(lambda: models.get_model(arch, weights=choice), name)
    images = choice.transforms()
    mean, std, side = images.mean, images.std, images.crop_size[0]
    if auxiliary:
        model.aux_logits = False
        for head in model._modules.keys() & AUXILIARY:
            setattr(model, head, None)
        # They were trained with mean and deviation 0.5, to which they convert ImageNet's.
        model.transform_input, mean, std = False, (0.5,) * 3, (0.5,) * 3
    side = side if side != 224 else _side(choice)
    return Classifier(model, len(choice.meta["categories"]), mean, std, side)


def _side(choice: Any) -> int | None:
    """The side (pixels) an architecture insists on; None where small images work as well."""
    # 33 px is the largest minimum of the fully convolutional ones, so CIFAR-like crops work.
    return choice.transforms().crop_size[0] if choice.meta["min_size"][0] > 33 else None


def _timm(arch: str, num_classes: int, weights: str) -> Classifier:
    import timm  # here: 2 s of imports that only its users pay

    name = arch.removeprefix("timm:")
    if not timm.is_model(name):
        kind, others = (
            ("recognizer", list_classifiers()) if name == arch else ("timm recognizer", [])
        )
        raise unknown(kind, name, [*others, *timm.list_models()])
    if "." in name and name not in timm.list_models(pretrained=True):
        raise unknown("timm recognizer", name, timm.list_models(pretrained=True))
    cfg = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    model: Any
    if weights == SCRATCH:
        model = timm.create_model(name, num_classes=num_classes)
        side = cfg.input_size[-1] if cfg.fixed_input_size else None
    else:
        side = (cfg.test_input_size or cfg.input_size)[-1]
        side = side if cfg.fixed_input_size or side != 224 else None
        file = f"{cfg.architecture}.{cfg.tag}.safetensors"
        # Without a network, the file may lie beside torchvision's instead of in timm's cache.
        overlay = {"file": str(cache_folder() / file)} if (cache_folder() / file).exists() else {}
        model = fetch_weights(
            lambda: timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay), file
        )
    return Classifier(model, model.num_classes, cfg.mean, cfg.std, side)
