"""What processor and transformer minimise: a small class per mode (docs/method.md; section 3).

An objective holds the networks it trains (``modules``) and the fixed recognizer, and turns a
batch into losses. Every loss is a mean over the batch; the image loss is the MSE everywhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ra.data.batches import loader, validation_keys
from ra.data.splits import Batch, Crops
from ra.errors import UserError
from ra.models.recognizers import Recognizer
from ra.progress import Progress
from ra.registry import Registry
from ra.runtime.devices import autocast

OBJECTIVES = Registry("objective", given=("processor", "recognizer", "weight", "transformer"))
ANSWERS = 2**30  # bytes of answers that are kept at most


@dataclass(frozen=True)
class Phase:
    """One optimizer's part of a training step.

    Attributes:
        modules: names of the networks it trains; the others are fixed meanwhile.
        losses: as ``Objective.losses``.
        rate: factor of the schedule's learning rate.
    """

    modules: tuple[str, ...]
    losses: Callable[[Batch], dict[str, Tensor]]
    rate: float = 1.0


@dataclass(eq=False)
class Objective:
    """Base of all objectives; the fields of a subclass that is a dataclass are its settings.

    Args:
        processor: degraded (N, 3, h, w) -> restored (N, 3, H, W), both in [0, 1].
        recognizer: fixed (evaluation mode, no gradients on its weights) unless the objective
            trains it. None where the objective needs none.
        weight: lambda, the weight of the recognition loss.
        transformer: image to image; only for objectives that train one.

    Attributes:
        modules: the networks that are trained, by the name of their file.
        needs_recognizer, needs_transformer, needs_labels: what a training with this objective has
            to supply.
        trains_recognizer: the recognizer is one of the modules.
        default_weight: lambda where none is given.
    """

    processor: nn.Module
    recognizer: Recognizer | None = None
    weight: float = 0.0
    transformer: nn.Module | None = None

    needs_recognizer: ClassVar[bool] = True
    needs_transformer: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    trains_recognizer: ClassVar[bool] = False
    default_weight: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        self.modules = {"processor": self.processor}
        if self.needs_transformer:
            self.modules["transformer"] = self.transformer
        if self.trains_recognizer:
            self.modules["recognizer"] = self.recognizer

    def begin(self, crops: Crops, epochs: int, device: torch.device, precision: str) -> None:
        """Compute what is the same in all ``epochs`` over ``crops``; by default nothing."""

    def phases(self) -> list[Phase]:
        """What a step does in turn; by default all modules follow ``losses``."""
        return [Phase(tuple(self.modules), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; "total" is what is minimised."""
        raise NotImplementedError


@OBJECTIVES.register("published")
class Published(Objective):
    """Trains nothing: the network is stored and evaluated as its file has it."""

    title = "Published"
    needs_recognizer = needs_labels = False
    default_weight = 0.0


@OBJECTIVES.register("plain")
class Plain(Objective):
    """MSE alone; the recognizer is not used."""

    title = "Plain Processing"
    needs_recognizer = False
    needs_labels = False
    default_weight = 0.0

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image = F.mse_loss(self.modules["processor"](batch.input), batch.target)
        return {"total": image, "image": image}


@OBJECTIVES.register("ra")
class RecognitionAware(Objective):
    """MSE + lambda * loss of R(P(x)); a classifier's loss is the cross-entropy with the label."""

    title = "RA Processing"

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        return self.recognizer.loss(output, batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.modules["processor"](batch.input)
        image = F.mse_loss(output, batch.target)
        recognition = self.recognition(output, batch)
        total = image + self.weight * recognition
        return {"total": total, "image": image, "recognition": recognition}


@OBJECTIVES.register("ra_transformer", "ra_transform")
class TransformerRecognitionAware(RecognitionAware):
    """P: MSE only. T: lambda * loss of R(T(P(x).detach())).

    The recognition gradient is cut before the processor, so one backward pass over the sum gives
    each network the gradient of its own loss.
    """

    title = "RA with Transformer"
    needs_transformer = True
    default_weight = 1e-2

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        return super().recognition(self.modules["transformer"](output.detach()), batch)


@OBJECTIVES.register("ra_unsupervised")
class UnsupervisedRecognitionAware(RecognitionAware):
    """MSE + lambda * MSE(softmax R(P(x)), softmax R(target)); uses no labels.

    Where every crop is a whole image, R(target) is computed once, as it is and mirrored. A random
    crop practically never returns, so there the clean target is classified at each step.
    """

    title = "Unsupervised RA"
    needs_labels = False
    default_weight = 10.0
    wanted: Tensor | None = None  # (2, images, classes): as they are, mirrored

    def begin(self, crops: Crops, epochs: int, device: torch.device, precision: str) -> None:
        size = 2 * len(crops) * getattr(self.recognizer, "outputs", ANSWERS) * 4
        # In two epochs an image occurs no more often than it has answers.
        if crops.split.whole and epochs > 2 and size <= ANSWERS:
            self.wanted = self._answers(crops, device, precision)

    @torch.no_grad()
    def _answers(self, crops: Crops, device: torch.device, precision: str) -> Tensor:
        clean = Crops(crops.split, task=None)
        batches = loader(clean, validation_keys(len(clean), crop=crops.split.info.crop), 0, device)
        answers: tuple[list[Tensor], list[Tensor]] = [], []
        for batch in Progress(batches, name="classify clean images", unit="batch"):
            target = batch.to(device).target
            with autocast(device, precision):
                for found, images in zip(answers, (target, target.flip(3)), strict=True):
                    found.append(self.recognizer.probabilities(images).float())
        return torch.stack([torch.cat(found) for found in answers])

    def clean_answers(self, batch: Batch) -> Tensor:
        """softmax R(target), (N, classes), without gradients."""
        if self.wanted is not None:
            return self.wanted[batch.mirrored, batch.index]
        with torch.no_grad():
            return self.recognizer.probabilities(batch.target)

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        return F.mse_loss(self.recognizer.probabilities(output), self.clean_answers(batch))


@OBJECTIVES.register("ra_pseudo")
class PseudoLabelled(UnsupervisedRecognitionAware):
    """``ra`` with the recognizer's own answer to the clean image as label; not in the paper."""

    title = "RA with Pseudo-labels"
    default_weight = RecognitionAware.default_weight

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            known = None if self.wanted is None else self.clean_answers(batch)
            batch = self.recognizer.labelled(batch, known)
        return self.recognizer.loss(output, batch)


@OBJECTIVES.register("ra_transformer_unsupervised")
class UnsupervisedTransformer(TransformerRecognitionAware, UnsupervisedRecognitionAware):
    """P: MSE only. T: lambda * MSE(softmax R(T(P(x).detach())), softmax R(target)); no labels."""

    title = "Unsupervised RA with Transformer"
    default_weight = UnsupervisedRecognitionAware.default_weight


@OBJECTIVES.register("perceptual")
class Perceptual(RecognitionAware):
    """MSE + lambda * s * MSE(features of R(P(x)), features of R(target)); not in the paper.

    Features are the input of the recognizer's last layer (after Johnson et al., ECCV 2016), whose
    scale differs between recognizers. So s gives each image's gradient at P(x) the length that
    cross-entropy's has there, the only use of labels: a lambda is as strong here as for ``ra``.
    """

    title = "Perceptual Loss"

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = self.recognizer.with_features(batch.target)[1]
        logits, features = self.recognizer.with_features(output)
        distance = (features - wanted).square().mean(dim=1)
        entropy = F.cross_entropy(logits, batch.label)
        per_image = [
            torch.autograd.grad(loss, output, retain_graph=True)[0].flatten(1).norm(dim=1)
            for loss in (entropy, distance.mean())
        ]
        scale = per_image[0] / per_image[1].clamp_min(1e-12)
        return (scale.detach() * distance).mean()


@OBJECTIVES.register("sr4ir")
@dataclass(eq=False)
class TrainedTogether(Objective):
    """SR4IR (Kim et al., CVPR 2024, section 3), from its description: P and R in turn.

    P: MSE + lambda * mean |features of R(P(x)) - features of R(target)|, R fixed. Then R:
    cross-entropy on P(x), on the target and on a patchwork of both, P fixed.
    """

    title = "SR4IR"
    trains_recognizer = True
    default_weight = 1e-2
    grid: Annotated[int, Field(ge=1, description="patches along a side of the patchwork")] = 4
    recognizer_lr: Annotated[
        float, Field(gt=0, description="learning rate of the recognizer, as a share of lr")
    ] = 0.1

    def phases(self) -> list[Phase]:
        return [
            Phase(("processor",), self.losses),
            Phase(("recognizer",), self.classification, self.recognizer_lr),
        ]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.modules["processor"](batch.input)
        with torch.no_grad():
            wanted = self.recognizer.with_features(batch.target)[1]
        image = F.mse_loss(output, batch.target)
        features = F.l1_loss(self.recognizer.with_features(output)[1], wanted)
        return {"total": image + self.weight * features, "image": image, "features": features}

    def classification(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the recognizer's phase: the sum of the means over each kind of image."""
        with torch.no_grad():
            output = self.modules["processor"](batch.input)
        images = torch.cat([output, batch.target, self.patchwork(output, batch.target)])
        loss = 3 * F.cross_entropy(self.modules["recognizer"](images), batch.label.repeat(3))
        return {"total": loss, "recognition": loss / 3}

    def patchwork(self, output: Tensor, target: Tensor) -> Tensor:
        """Each patch of a grid from one of the two images, by chance (N, 3, H, W)."""
        # torch's own random numbers, which a resumed training goes on with.
        chance = torch.rand(len(output), 1, self.grid, self.grid).to(output.device)
        return torch.where(F.interpolate(chance, output.shape[-2:]) < 0.5, output, target)


class RecognizerTraining(Objective):
    """A recognizer's own training.

    Args:
        processor: fixed; the recognizer learns on its outputs, or with None on the clean images.
    """

    def __init__(self, recognizer: Recognizer, processor: nn.Module | None = None) -> None:
        self.modules, self.processor = {"recognizer": recognizer}, processor

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.target
        if self.processor is not None:
            with torch.no_grad():
                images = self.processor(batch.input)
        return self.modules["recognizer"](images, batch)


def canonical_mode(mode: str, weight: float | None) -> tuple[str, float]:
    """The objective's name in results and its lambda: ``ra`` with lambda 0 is plain.

    Args:
        mode: name or alias of an objective.
        weight: lambda; None takes the objective's own.

    Raises:
        UserError: an unknown name, or a lambda that is negative or not finite.
    """
    name, objective = OBJECTIVES.canonical(mode), OBJECTIVES.get(mode)
    weight = objective.default_weight if weight is None else weight
    if not 0 <= weight < math.inf:
        raise UserError(f"--l: lambda is {weight}; it must be 0 or more")
    if not objective.needs_recognizer:
        return name, 0.0
    return ("plain", 0.0) if objective is RecognitionAware and weight == 0 else (name, weight)


def check_labels(objective: str, classes: Sequence[str], root: str) -> None:
    """UserError where ``objective`` needs labels and the data at ``root`` has no ``classes``."""
    if OBJECTIVES.get(objective).needs_labels and not classes:
        free = [name for name in OBJECTIVES if not OBJECTIVES.get(name).needs_labels]
        raise UserError(
            f"{root}: no labels, which objective {objective} needs; without: {', '.join(free)}"
        )
