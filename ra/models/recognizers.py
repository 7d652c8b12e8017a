"""R: fixed classifiers that read images in [0, 1]; by name from torchvision or timm.

A further R is a name either library knows; nothing is registered here.
"""

from __future__ import annotations

import json
import os
import urllib.error
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
import yaml
from torch import Tensor, nn

from ra.errors import UserError, unknown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SCRATCH = "scratch"


class Recognizer(nn.Module):
    """A classifier with its own normalisation, input size and choice of logits.

    forward: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The gradient flows through
    the normalisation (method.md, "Words").

    Args:
        classifier: normalised images -> logits.
        logits: number of logits of the classifier.
        input_size: side in pixels to which images are resized; None takes them as they are.
        class_index: logit of each class of the data set; None takes all logits.
    """

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
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        index = torch.tensor([] if class_index is None else class_index, dtype=torch.long)
        self.register_buffer("class_index", index)
        self.frozen = False

    def forward(self, images: Tensor) -> Tensor:
        if self.input_size and images.shape[-2:] != (self.input_size, self.input_size):
            size = (self.input_size, self.input_size)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        logits = self.classifier((images - self.mean) / self.std)
        return logits[:, self.class_index] if len(self.class_index) else logits

    def train(self, mode: bool = True) -> Recognizer:
        """A frozen R stays in evaluation mode, whatever its surroundings do."""
        return super().train(mode and not self.frozen)


def freeze(recognizer: Recognizer) -> Recognizer:
    """No weight update, no batch-norm update, from now on."""
    recognizer.frozen = True
    return recognizer.eval().requires_grad_(False)


def list_recognizers() -> list[str]:
    """Names of torchvision's classifiers; timm's come as ``timm:NAME``."""
    return torchvision.models.list_models(module=torchvision.models)


def build_recognizer(arch: str, num_classes: int, weights: str = SCRATCH) -> Recognizer:
    """R called ``arch``, with random weights for ``num_classes``, or with pretrained ``weights``.

    Args:
        arch: a torchvision classifier, or ``timm:NAME``.
        weights: ``scratch``, torchvision's name such as IMAGENET1K_V1, or ``DEFAULT``; timm takes
            ``DEFAULT``. Pretrained weights come from the libraries' own cache (TORCH_HOME).

    Raises:
        UserError: an unknown name, or weights that are neither cached nor to be downloaded.
    """
    if arch.startswith("timm:"):
        return _timm(arch.removeprefix("timm:"), num_classes, weights)
    if arch not in list_recognizers():
        raise unknown("recognizer", arch, list_recognizers())
    # GoogLeNet and Inception carry auxiliary heads that only their own training uses.
    auxiliary = arch in ("googlenet", "inception_v3")
    if weights == SCRATCH:
        extra = {"aux_logits": False, "init_weights": True} if auxiliary else {}
        model = torchvision.models.get_model(arch, num_classes=num_classes, **extra)
        return Recognizer(model, num_classes)
    known = torchvision.models.get_model_weights(arch)
    if weights not in known.__members__:
        raise unknown(f"weights of {arch}", weights, known.__members__)
    choice = known[weights]
    model = _fetch(lambda: torchvision.models.get_model(arch, weights=choice), choice.url)
    for head in ("AuxLogits", "aux1", "aux2") if auxiliary else ():
        setattr(model, head, None)
    if auxiliary:
        model.aux_logits = False
    side = 299 if arch == "inception_v3" else None
    return Recognizer(model, len(choice.meta["categories"]), input_size=side)


def _timm(name: str, num_classes: int, weights: str) -> Recognizer:
    import timm  # here: 2 s of imports that only its users pay

    if name not in timm.list_models():
        raise unknown("timm recognizer", name, timm.list_models())
    settings = timm.get_pretrained_cfg(name)
    if weights == SCRATCH:
        model = timm.create_model(name, num_classes=num_classes)
    else:
        model = _fetch(lambda: timm.create_model(name, pretrained=True), name)
    fixed = settings.input_size[-1] if settings.fixed_input_size else None
    return Recognizer(model, model.num_classes, settings.mean, settings.std, fixed)


def _fetch(load, origin: str) -> nn.Module:
    """Call ``load``; offline, say in one line which file to put where."""
    cache = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser() / "hub/checkpoints"
    target = cache / origin.rpartition("/")[2]
    try:
        return load()
    except (urllib.error.URLError, ConnectionError, OSError) as error:
        raise UserError(
            f"pretrained weights {target.name}: not cached and not to be downloaded here "
            f"({type(error).__name__}); put the file at {target}"
        ) from None
    except RuntimeError as error:
        raise UserError(f"{target}: damaged weights ({str(error)[:80]}); delete it") from None


def load_class_index(classes: Sequence[str], mapping: Path | None) -> list[int]:
    """The ImageNet logit of each class of a data set.

    Args:
        classes: folder names, in the order of their labels.
        mapping: YAML or JSON file, folder name -> logit; None takes the folders for ImageNet
            wnids, whose order is looked up, not assumed.
    """
    if mapping:
        try:
            table = yaml.safe_load(mapping.read_text(encoding="utf-8"))
            table = {str(name): int(logit) for name, logit in table.items()}
        except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
            raise UserError(f"{mapping}: not a mapping from folder names to logits") from None
    else:
        from timm.data import ImageNetInfo

        table = {wnid: logit for logit, wnid in enumerate(ImageNetInfo().label_names())}
    missing = [name for name in classes if name not in table]
    if missing:
        source = mapping or "ImageNet's wnids"
        raise UserError(
            f"class folders {json.dumps(missing[:3])} are not in {source}; "
            "give --classes FILE, a mapping from folder names to logits"
        )
    return [table[name] for name in classes]
