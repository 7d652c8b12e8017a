"""What P and T minimise: one small class per mode (method.md, "Objectives"; paper section 3).

An objective holds the networks it trains (``modules``) and the fixed recognizer, and turns a
batch into losses. Every loss is a mean over the batch; the image loss is the MSE everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.data.datasets import Batch
from ra.errors import UserError
from ra.registry import Registry

OBJECTIVES = Registry("objective")


class Objective:
    """Base of all objectives.

    Args:
        processor: P, degraded (N, 3, h, w) -> restored (N, 3, H, W), both in [0, 1].
        recognizer: the fixed R (eval mode, no gradients on its weights); images (N, 3, H, W) in
            [0, 1] -> logits (N, classes). None where the objective needs none.
        weight: lambda, the weight of the recognition loss.
        transformer: T, image to image; only for objectives that train one.
    """

    needs_transformer = False

    def __init__(
        self,
        processor: nn.Module,
        recognizer: nn.Module | None = None,
        weight: float = 0.0,
        transformer: nn.Module | None = None,
    ) -> None:
        self.recognizer, self.weight = recognizer, weight
        self.modules = {"processor": processor}
        if self.needs_transformer:
            self.modules["transformer"] = transformer

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; "total" is what is minimised."""
        raise NotImplementedError


@OBJECTIVES.register("plain")
class Plain(Objective):
    """MSE alone; no recognizer is asked."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        image = F.mse_loss(self.modules["processor"](batch.input), batch.target)
        return {"total": image, "image": image}


@OBJECTIVES.register("ra")
class RecognitionAware(Objective):
    """MSE + lambda * cross-entropy(R(P(x)), label)."""

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(self.recognizer(output), batch.label)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.modules["processor"](batch.input)
        image = F.mse_loss(output, batch.target)
        recognition = self.recognition(output, batch)
        total = image + self.weight * recognition
        return {"total": total, "image": image, "recognition": recognition}


@OBJECTIVES.register("ra_unsupervised")
class UnsupervisedRecognitionAware(RecognitionAware):
    """MSE + lambda * MSE(softmax R(P(x)), softmax R(target)); never reads a label."""

    def recognition(self, output: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted = self.recognizer(batch.target).softmax(dim=1)
        return F.mse_loss(self.recognizer(output).softmax(dim=1), wanted)


@OBJECTIVES.register("ra_transformer", "ra_transform")
class TransformerRecognitionAware(Objective):
    """P: MSE only. T: lambda * cross-entropy(R(T(P(x).detach())), label).

    The recognition gradient is cut before P, so one backward pass over the sum gives each
    network the gradient of its own loss.
    """

    needs_transformer = True

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.modules["processor"](batch.input)
        image = F.mse_loss(output, batch.target)
        read = self.recognizer(self.modules["transformer"](output.detach()))
        recognition = F.cross_entropy(read, batch.label)
        total = image + self.weight * recognition
        return {"total": total, "image": image, "recognition": recognition}


class Classification(Objective):
    """Cross-entropy of a recognizer in training on clean images; how the zoo of R's is made."""

    def __init__(self, recognizer: nn.Module) -> None:
        self.modules = {"recognizer": recognizer}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.modules["recognizer"](batch.target)
        accuracy = (logits.detach().argmax(dim=1) == batch.label).float().mean()
        return {"total": F.cross_entropy(logits, batch.label), "accuracy": accuracy}


def canonical_mode(mode: str, weight: float) -> str:
    """The objective's name in results: ``ra`` with lambda 0 is plain, spellings are unified."""
    objective = OBJECTIVES.get(mode)
    if weight < 0:
        raise UserError(f"--l: lambda is {weight}; it must be 0 or more")
    if objective is RecognitionAware and weight == 0:
        return "plain"
    return "ra_transformer" if objective is TransformerRecognitionAware else mode
