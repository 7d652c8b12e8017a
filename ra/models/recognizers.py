"""Recognizers: classifiers of images in [0, 1], by any name that torchvision or timm knows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.errors import UserError, first_line, one_line, unknown
from ra.settings.base import Int, Settings, checked, setting
from ra.settings.shared import SCRATCH

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Heads of GoogLeNet and Inception that only their own training uses.
AUXILIARY = ("AuxLogits", "aux1", "aux2")


class Network(Settings):
    """What describes the network of a recognizer."""

    arch: str = setting(..., "torchvision's or timm's name")
    num_classes: Int = setting(..., "number of its logits", ge=1, le=1_000_000)
    input_size: Int | None = setting(None, "side of its images in pixels", ge=1, le=4096)


class Recognizer(nn.Module):
    """A classifier with its own normalisation, input size and choice of logits.

    forward: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The gradient flows through
    the normalisation. Of several outputs (auxiliary heads) the main one is taken.

    Attributes:
        header: what a checkpoint needs to build the recognizer again.
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
    stored: dict[str, Any]

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
        self.frozen = False

    @property
    def outputs(self) -> int:
        """Number of logits that ``forward`` returns."""
        return len(self.class_index) or self.logits

    def forward(self, images: Tensor) -> Tensor:
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

    def select(self, class_index: Sequence[int]) -> Recognizer:
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

    def train(self, mode: bool = True) -> Recognizer:
        """A frozen recognizer stays in evaluation mode, whatever its parent module does."""
        return super().train(mode and not self.frozen)


class Ensemble(nn.Module):
    """Several recognizers as one: logits are the logarithm of the mean of their probabilities.

    forward: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The mean of the logits would
    reward images on which the members disagree: docs/analysis.md compares both.
    """

    members: Any  # nn.ModuleList of Recognizer

    def __init__(self, members: Sequence[Recognizer]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.frozen = False

    def forward(self, images: Tensor) -> Tensor:
        return _mean_probability([member(images) for member in self.members])

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features of all members side by side)."""
        both = (member.with_features(images) for member in self.members)
        logits, features = zip(*both, strict=True)
        return _mean_probability(logits), torch.cat(features, dim=1)


def _mean_probability(logits: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Logarithm of the mean of the softmaxes; the softmax of that is the mean."""
    return torch.stack(logits).log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))


Fixed = TypeVar("Fixed", Recognizer, Ensemble)


def freeze(recognizer: Fixed) -> Fixed:
    """No weight update, no batch-norm update, from now on."""
    recognizer.frozen = True
    return recognizer.eval().requires_grad_(False)


@contextmanager
def classifying(name: str, height: int, width: int, hint: str) -> Iterator[None]:
    """One line where the recognizer ``name`` fails on images of this size (pixels)."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        if one_line(error):  # out of memory
            raise
        raise UserError(
            f"{name}: cannot classify images of {width}x{height} px ({first_line(error)}); {hint}"
        ) from None


def list_recognizers() -> list[str]:
    """Names of torchvision's classifiers; timm's come as ``timm:NAME``."""
    from torchvision import models  # here: a second of imports that only its users pay

    return models.list_models(module=models)


def build_recognizer(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Recognizer:
    """The recognizer ``arch`` with random weights for ``num_classes``, or pretrained ``weights``.

    Args:
        arch: a torchvision classifier; ``timm:NAME``, or a name only timm knows.
        num_classes: number of logits; pretrained weights bring their own.
        weights: ``scratch``, torchvision's name such as IMAGENET1K_V1, or ``DEFAULT``; with timm
            all but ``scratch`` means the weights of the tag in NAME. Pretrained weights come
            from the libraries' own cache (TORCH_HOME).
        input_size: side in pixels to which images are resized; None takes the architecture's own.

    Raises:
        UserError: an unknown name, an impossible number or size, or weights that are neither
            cached nor can be downloaded.
    """
    checked(Network, {"arch": arch, "num_classes": num_classes, "input_size": input_size})
    if arch in list_recognizers():
        recognizer = _torchvision(arch, num_classes, weights, input_size)
    else:
        recognizer = _timm(arch, num_classes, weights)
    recognizer.input_size = input_size or recognizer.input_size
    size = {"logits": recognizer.logits, "input_size": recognizer.input_size}
    recognizer.header = {"arch": arch, **size}
    return recognizer


def _torchvision(arch: str, num_classes: int, weights: str, input_size: int | None) -> Recognizer:
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
        return Recognizer(model, num_classes, input_size=side)
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
    return Recognizer(model, len(choice.meta["categories"]), mean, std, side)


def _side(choice: Any) -> int | None:
    """The side (pixels) an architecture insists on; None where small images work as well."""
    # 33 px is the largest minimum of the fully convolutional ones, so CIFAR-like crops work.
    return choice.transforms().crop_size[0] if choice.meta["min_size"][0] > 33 else None


def _timm(arch: str, num_classes: int, weights: str) -> Recognizer:
    import timm  # here: 2 s of imports that only its users pay

    name = arch.removeprefix("timm:")
    if not timm.is_model(name):
        kind, others = (
            ("recognizer", list_recognizers()) if name == arch else ("timm recognizer", [])
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
        overlay = {"file": str(_cache() / file)} if (_cache() / file).exists() else {}
        model = fetch_weights(
            lambda: timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay), file
        )
    return Recognizer(model, model.num_classes, cfg.mean, cfg.std, side)


def _cache() -> Path:
    """The folder of torchvision's weights; timm's may lie there too."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(load: Callable[[], nn.Module], name: str) -> nn.Module:
    """Call ``load``, which reads or downloads the weight file ``name``: tensors only.

    Raises:
        UserError: it failed; the line says which file to put where, or to delete.
    """
    from unittest.mock import patch

    target = _cache() / name
    try:
        # torchvision's own call of torch.load would execute a cached pickle.
        with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            return load()
    # No network, a truncated zip, a pickle with code: the file decides which.
    except Exception as error:
        reason = first_line(error)
        if target.exists():
            raise UserError(f"{target}: damaged weights ({reason}); delete the file") from None
        raise UserError(
            f"pretrained weights {name}: not cached, and could not be downloaded "
            f"({reason}); put the file at {target}"
        ) from None
