"""The socket of recognizers: answers, a loss, and a score.

Classifiers, detectors and segmenters implement it; training, evaluation and tables know no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ra.errors import UserError, first_line, one_line, unknown

if TYPE_CHECKING:
    from ra.data.splits import Batch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Recognizer(nn.Module):
    """What recognizes images.

    forward: images (N, 3, H, W) in [0, 1] -> ``answers``, or with a batch ``training_losses``. The
    gradient flows to the images.

    Attributes:
        kind: what it is, for people.
        header: what a checkpoint needs to build it again; empty where it cannot be stored.
        logits: number of classes it knows.
        trained: its weights are those of a finished training.
    """

    kind: ClassVar[str]
    header: dict[str, object]
    logits: int
    stored: dict[str, Any]
    trained = False
    frozen = False

    def forward(self, images: Tensor, batch: Batch | None = None) -> Any:
        # Both by one door, since several processes train what they call.
        return self.answers(images) if batch is None else self.training_losses(images, batch)

    def answers(self, images: Tensor) -> Any:
        """What it recognizes in the images."""
        raise NotImplementedError

    def loss(self, images: Tensor, batch: Batch) -> Tensor:
        """Of the answers to ``images`` against the batch's labels, objects or mask; a scalar."""
        raise NotImplementedError

    def training_losses(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Losses by name of its own training; "total" is minimised."""
        return {"total": self.loss(images, batch)}

    def probabilities(self, images: Tensor) -> Tensor:
        """Answers that the unsupervised loss compares, (N, classes, ...).

        Raises:
            UserError: it has none.
        """
        raise UserError(f"a {self.kind} has no answers to compare; train with ra or ra_pseudo")

    def labelled(self, batch: Batch, answers: Any = None) -> Batch:
        """The batch with its own answers to the clean images (default: found here) as labels."""
        raise NotImplementedError

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(answers, features); see ``Classifier``."""
        raise UserError(f"a {self.kind} has no features to compare; choose a classifier")

    def compare(self, answers: Any, batch: Batch) -> dict[str, Any]:
        """What the answers to a batch are worth, by metric, an entry an image.

        An entry is a number, or what a metric over all images needs (``ra.evaluation.pooled``).
        """
        raise NotImplementedError

    def draw(self, axes: Any, image: Tensor, classes: Sequence[str]) -> None:
        """Draw the answer to ``image`` (3, H, W) over it, where it can be shown."""

    def select(self, class_index: Sequence[int]) -> Recognizer:
        """Keep only these logits, in this order."""
        if class_index:
            raise UserError(f"a {self.kind} has no logits to choose from")
        return self

    def train(self, mode: bool = True) -> Recognizer:
        """A frozen recognizer stays in evaluation mode, whatever its parent module does."""
        return super().train(mode and not self.frozen)


class TinyBackbone(nn.Sequential):
    """Six 3x3 convolutions with batch norm, stride 8; (N, 3, H, W) -> (N, 96, H/8, W/8).

    Of the tiny classifier, detector and segmenter, which train on two cores.
    """

    out_channels = 96

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((3, 24, 32, 48, 64, 96, 96))):
            stride = 2 if number % 2 == 0 else 1
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


class Several(Recognizer):
    """Recognizers of several kinds that train one processor together: the mean of their losses."""

    kind = "group of several kinds"

    def __init__(self, members: Sequence[Recognizer]) -> None:
        super().__init__()
        self.header: dict[str, object] = {}
        self.members = nn.ModuleList(members)

    def loss(self, images: Tensor, batch: Batch) -> Tensor:
        members: Any = self.members
        return torch.stack([member.loss(images, batch) for member in members]).mean()


Fixed = TypeVar("Fixed", bound=Recognizer)


def freeze(recognizer: Fixed) -> Fixed:
    """No weight update, no batch-norm update, from now on."""
    recognizer.frozen = True
    return recognizer.eval().requires_grad_(False)


def backbone_weights(arch: str, weights: str) -> tuple[Any, str]:
    """torchvision's weights for the backbone of a detector or segmenter, and their file's name."""
    import torchvision

    names = ("mobilenet_v3_large", "resnet101", "resnet50")
    name = next((one for one in names if one in arch), names[0])
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known:
        raise unknown(f"weights of {name}", weights, known)
    return known[weights], known[weights].url.rpartition("/")[2]


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


def cache_folder() -> Path:
    """The folder of torchvision's weights; timm's may lie there too."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(load: Callable[[], nn.Module], name: str) -> Any:
    """Call ``load``, which reads or downloads the weight file ``name``: tensors only.

    Raises:
        UserError: it failed; the line says which file to put where, or to delete.
    """
    from unittest.mock import patch

    target = cache_folder() / name
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
