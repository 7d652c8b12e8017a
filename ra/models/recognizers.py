"""R: fixed classifiers that read images in [0, 1]; by name from torchvision or timm.

A further R is a name either library knows, or a YAML file (``ra.models.user_recognizer``);
nothing is registered

"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from ra.errors import UserError, unknown

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SCRATCH = "scratch"


class Recognizer(nn.Module):
    """A classifier with its own normalisation, input size and choice of logits.

    forward: images (N, 3, H, W) in [0, 1] -> logits (N, classes). The gradient flows through
    the normalisation (method.md, "Words"). Of a classifier with auxiliary outputs the main one
    is taken. ``header`` is what a checkpoint needs to build it again.

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
        self.header: dict[str, object] = {}
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
        logits = getattr(logits, "logits", logits)
        return logits[:, self.class_index] if len(self.class_index) else logits

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features): features (N, channels) are what the classifier's last layer reads."""
        layers = [m for m in self.classifier.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        if not layers:
            raise UserError("R is a program whose layers cannot be read; perceptual needs another")
        kept: list[Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        try:
            return self(images), kept[0].flatten(1)
        finally:
            hook.remove()

    def select(self, class_index: Sequence[int]) -> Recognizer:
        """Answer with these logits, one for each class of the data set, in this order."""
        for logit in class_index:
            if not 0 <= logit < self.logits:
                raise UserError(f"class mapping: there is no logit {logit}; R has {self.logits}")
        if len(set(class_index)) < len(class_index):
            raise UserError("class mapping: two classes share one logit")
        self.class_index = torch.tensor(class_index, device=self.mean.device)
        return self

    def train(self, mode: bool = True) -> Recognizer:
        """A frozen R stays in evaluation mode, whatever its surroundings do."""
        return super().train(mode and not self.frozen)


class Ensemble(nn.Module):
    """Several R's as one training R: the mean of their probabilities, as logits (its logarithm).

    What comes out is a classifier, so every objective takes it as it is. The mean of logits would
    too, but the cross-entropy of that is the mean of the members' less their disagreement, so it
    rewards images on which they disagree. docs/analysis.md compares the two, and the mean of
    losses, which every objective would have to know of.

    forward: images (N, 3, H, W) in [0, 1] -> logits (N, classes).
    """

    def __init__(self, members: Sequence[Recognizer]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.frozen = False

    def forward(self, images: Tensor) -> Tensor:
        return _mean_probability([member(images) for member in self.members])

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features of all members side by side)."""
        read = [member.with_features(images) for member in self.members]
        logits, features = zip(*read, strict=True)
        return _mean_probability(logits), torch.cat(features, dim=1)


def _mean_probability(logits: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean of the softmaxes; the softmax of that is the mean."""
    return torch.stack(logits).log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))


def freeze(recognizer: Recognizer | Ensemble) -> Recognizer | Ensemble:
    """No weight update, no batch-norm update, from now on."""
    recognizer.frozen = True
    return recognizer.eval().requires_grad_(False)


def check_crop(recognizer: Recognizer, name: str, crop: int) -> None:
    """UserError where ``recognizer`` cannot read images of ``crop`` pixels: too small for it."""
    was_training = recognizer.training
    try:
        with torch.no_grad():
            recognizer.eval()(torch.full((1, 3, crop, crop), 0.5))
    except MemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{name}: cannot read images of {crop} px ({reason}); change crop"
        ) from None
    finally:
        recognizer.train(was_training)


def list_recognizers() -> list[str]:
    """Names of torchvision's classifiers; timm's come as ``timm:NAME``."""
    from torchvision import models  # here: a second of imports that only its users pay

    return models.list_models(module=models)


def build_recognizer(
    arch: str, num_classes: int, weights: str = SCRATCH, input_size: int | None = None
) -> Recognizer:
    """R called ``arch``, with random weights for ``num_classes``, or with pretrained ``weights``.

    Args:
        arch: a torchvision classifier; ``timm:NAME``, or a name only timm knows.
        num_classes: number of logits; pretrained weights bring their own.
        weights: ``scratch``, torchvision's name such as IMAGENET1K_V1, or ``DEFAULT``; with timm
            all but ``scratch`` means the weights of the tag in NAME. Pretrained weights come
            from the libraries' own cache (TORCH_HOME).
        input_size: side in pixels to which R resizes; None takes the architecture's own.

    Raises:
        UserError: an unknown name, or weights that are neither cached nor to be downloaded.
    """
    if arch.startswith("timm:"):
        recognizer = _timm(arch.removeprefix("timm:"), num_classes, weights)
    elif arch in list_recognizers():
        recognizer = _torchvision(arch, num_classes, weights, input_size)
    else:
        recognizer = _timm_or_unknown(arch, num_classes, weights)
    recognizer.input_size = input_size or recognizer.input_size
    size = {"logits": recognizer.logits, "input_size": recognizer.input_size}
    recognizer.header = {"arch": arch, **size}
    return recognizer


def _torchvision(arch: str, num_classes: int, weights: str, input_size: int | None) -> Recognizer:
    from torchvision import models

    known = models.get_model_weights(arch)
    options = {name: choice for name, choice in known.__members__.items() if _classifies(choice)}
    # GoogLeNet and Inception carry auxiliary heads that only their own training uses.
    auxiliary = arch in ("googlenet", "inception_v3")
    if weights == SCRATCH:
        side = input_size or _side(next(iter(options.values())))
        extra = {"aux_logits": False, "init_weights": True} if auxiliary else {}
        if arch.startswith("vit_") and side:
            extra["image_size"] = side
        model = models.get_model(arch, num_classes=num_classes, **extra)
        return Recognizer(model, num_classes, input_size=side)
    if weights not in options:
        raise unknown(f"weights of {arch}", weights, options)
    choice = options[weights]
    name = choice.url.rpartition("/")[2]
    model = fetch_weights(lambda: models.get_model(arch, weights=choice), name)
    images = choice.transforms()
    mean, std = images.mean, images.std
    if auxiliary:
        model.aux_logits = False
        for head in ("AuxLogits", "aux1", "aux2"):
            if hasattr(model, head):
                setattr(model, head, None)
        # They were trained with mean and deviation 0.5, which they make of ImageNet's themselves.
        model.transform_input, mean, std = False, (0.5,) * 3, (0.5,) * 3
    side = images.crop_size[0] if images.crop_size[0] != 224 else _side(choice)
    return Recognizer(model, len(choice.meta["categories"]), mean, std, side)


def _classifies(choice: WeightsEnum) -> bool:
    """False for weights of features alone (vgg16's IMAGENET1K_FEATURES)."""
    return bool(choice.meta["categories"])


def _side(choice: WeightsEnum) -> int | None:
    """The side (pixels) an architecture insists on; None where small images do as well."""
    # 33 px is the largest minimum of the fully convolutional ones; CIFAR-like crops pass.
    return choice.transforms().crop_size[0] if choice.meta["min_size"][0] > 33 else None


def _timm_or_unknown(name: str, num_classes: int, weights: str) -> Recognizer:
    import timm  # here: 2 s of imports that only its users pay

    if timm.is_model(name):
        return _timm(name, num_classes, weights)
    raise unknown("recognizer", name, {*list_recognizers(), *timm.list_models()})


def _timm(name: str, num_classes: int, weights: str) -> Recognizer:
    import timm

    if not timm.is_model(name):
        raise unknown("timm recognizer", name, timm.list_models())
    if "." in name and name not in timm.list_models(pretrained=True):
        raise unknown("timm recognizer", name, timm.list_models(pretrained=True))
    cfg = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    side = (cfg.test_input_size or cfg.input_size)[-1]
    if weights == SCRATCH:
        model = timm.create_model(name, num_classes=num_classes)
        side = cfg.input_size[-1] if cfg.fixed_input_size else None
    else:
        file = f"{cfg.architecture}.{cfg.tag}.safetensors"
        # A file put beside torchvision's spares machines without network timm's own cache.
        overlay = {"file": str(_cache() / file)} if (_cache() / file).exists() else {}
        model = fetch_weights(
            lambda: timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay), file
        )
        side = side if cfg.fixed_input_size or side != 224 else None
    return Recognizer(model, model.num_classes, cfg.mean, cfg.std, side)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(load: Callable[[], nn.Module], name: str) -> nn.Module:
    """Call ``load``; where it fails, say in one line which file to put where, or to delete."""
    target = _cache() / name
    try:
        with _weights_only():
            return load()
    # Whatever it is (no network, a truncated zip, a pickle with code): the file tells which.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(": ")[:120]
        if target.exists():
            raise UserError(f"{target}: damaged weights ({reason}); delete the file") from None
        raise UserError(
            f"pretrained weights {name}: not cached and not to be downloaded here "
            f"({reason}); put the file at {target}"
        ) from None


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.load reads tensors only; torchvision's own call would execute a cached pickle."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        del os.environ[key]
        if before is not None:
            os.environ[key] = before


def load_class_index(classes: Sequence[str], mapping: Path | None, logits: int = 1000) -> list[int]:
    """The logit of each class of a data set.

    Args:
        classes: folder names, in the order of their labels.
        mapping: YAML, JSON (folder name -> logit, or names in the order of the logits; either
            may stand under a key ``classes``) or .txt (a name a line, in the order of the
            logits). None takes the folders for ImageNet wnids, whose logits are looked up, not
            assumed to be in the folders' order.
        logits: number of logits of R.
    """
    if mapping:
        table, source = read_classes(mapping), str(mapping)
    elif logits != 1000:
        raise UserError(f"R has {logits} logits, which ImageNet's wnids do not name; " + CLASSES)
    else:
        from timm.data import ImageNetInfo

        table = {wnid: logit for logit, wnid in enumerate(ImageNetInfo().label_names())}
        source = "ImageNet's wnids"
    missing = [name for name in classes if name not in table]
    if missing:
        raise UserError(f"class folders {json.dumps(missing[:3])} are not in {source}; " + CLASSES)
    return [table[name] for name in classes]


CLASSES = "give --classes FILE, a mapping from folder names to logits"


def read_classes(path: Path) -> dict[str, int]:
    """Class name -> logit, from a mapping file as in ``load_class_index``."""
    try:
        text = path.read_text(encoding="utf-8")
        table = text.split("\n") if path.suffix == ".txt" else yaml.safe_load(text)
        if isinstance(table, dict) and isinstance(table.get("classes"), (dict, list)):
            table = table["classes"]
        if isinstance(table, list):
            names = [str(name).strip() for name in table]
            table = {name: logit for logit, name in enumerate(names) if name}
        return {str(name): int(logit) for name, logit in table.items()}
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
        raise UserError(f"{path}: not a mapping from folder names to logits") from None
