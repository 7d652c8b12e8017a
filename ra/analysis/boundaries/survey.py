"""How alike the decision boundaries of two recognizers are around images (method.md, 7).

The images are outputs of the plain processor. Three directions are the same for all recognizers:
to the output of the recognition-aware processor, a random one orthogonal to it, and the gradient
of the training recognizer's loss. Points are not clamped to [0, 1], so that a plane stays a plane.
Distances are root mean squares over the values of an image, in units of the range [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.analysis.settings import BoundarySurvey
from ra.evaluation.statistics import mean, rank_correlation
from ra.models.recognizers import Recognizer

DIRECTIONS = ("ra", "random", "gradient")
BATCH = 256  # points that a recognizer classifies at once
GRADIENT_BATCH = 32  # images whose gradients are taken at once: a few GB at 224 px


@dataclass(frozen=True)
class Surroundings:
    """The predictions of one recognizer around N images.

    Attributes:
        regions: predicted class on each plane, (N, grid, grid); rows go along the random
            direction, columns along that to the recognition-aware output.
        distances: direction -> RMS distance (N,) at which the prediction first changes; infinite
            where it does not up to the radius.
        gradient: of the cross-entropy at each image, flattened, length 1; (N, D).
    """

    regions: Tensor
    distances: dict[str, Tensor]
    gradient: Tensor


def unit(direction: Tensor) -> Tensor:
    """``direction`` (N, 3, H, W) with root mean square 1 per image; a zero one stays zero."""
    rms = direction.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return direction / rms.clamp(min=1e-12)


def random_orthogonal(direction: Tensor, seed: int) -> Tensor:
    """A random direction per image, orthogonal to ``direction``; same shape, RMS 1."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(direction.shape, generator=generator).to(direction.device)
    along = unit(direction)
    return unit(free - (free * along).mean(dim=(1, 2, 3), keepdim=True) * along)


def loss_gradient(recognizer: nn.Module, images: Tensor, label: Tensor) -> Tensor:
    """Gradient of each image's cross-entropy with respect to the image, (N, 3, H, W)."""
    parts = []
    batches = images.split(GRADIENT_BATCH), label.split(GRADIENT_BATCH)
    for part, wanted in zip(*batches, strict=True):
        part = part.detach().clone().requires_grad_(True)
        loss = F.cross_entropy(recognizer(part), wanted, reduction="sum")
        parts.append(torch.autograd.grad(loss, part)[0])
    return torch.cat(parts)


@torch.inference_mode()
def predict(recognizer: nn.Module, points: Tensor) -> Tensor:
    """Predicted class of each point (M, 3, H, W), in batches; (M,)."""
    return torch.cat([recognizer(part).argmax(dim=1) for part in points.split(BATCH)])


def regions(
    recognizer: nn.Module, image: Tensor, u: Tensor, v: Tensor, survey: BoundarySurvey
) -> Tensor:
    """Predicted classes (grid, grid) on the plane image + a * u + b * v; image, u, v: (3, H, W)."""
    side = torch.linspace(-survey.radius, survey.radius, survey.grid, device=image.device)
    b, a = torch.meshgrid(side, side, indexing="ij")
    points = image + a.reshape(-1, 1, 1, 1) * u + b.reshape(-1, 1, 1, 1) * v
    return predict(recognizer, points).view(survey.grid, survey.grid)


def distances(
    recognizer: nn.Module, images: Tensor, direction: Tensor, survey: BoundarySurvey
) -> Tensor:
    """Distance (N,) to the first other prediction along ``direction`` (N, 3, H, W; RMS 1)."""
    own = predict(recognizer, images)
    found = torch.full((len(images),), float("inf"), device=images.device)
    for step in range(1, survey.steps + 1):
        length = survey.radius * step / survey.steps
        rest = found.isinf().nonzero()[:, 0]
        if not len(rest):
            break
        changed = predict(recognizer, images[rest] + length * direction[rest]) != own[rest]
        found[rest[changed]] = length
    return found


def survey_recognizers(
    recognizers: dict[str, Recognizer],
    training_r: str,
    plain: Tensor,
    aware: Tensor,
    label: Tensor,
    survey: BoundarySurvey,
    progress: Callable = lambda items: items,
) -> dict[str, Surroundings]:
    """The boundaries of every recognizer around the same images, along the same directions.

    Args:
        training_r: the recognizer whose loss gives the direction ``gradient``.
        plain, aware: outputs of the plain and the recognition-aware processor, (N, 3, H, W).
        survey: its planes are sampled around the first images (they are the costly part).
    """
    shared = {
        "ra": unit(aware - plain),
        "random": random_orthogonal(aware - plain, survey.seed),
        "gradient": unit(loss_gradient(recognizers[training_r], plain, label)),
    }
    found = {}
    for name, recognizer in progress(recognizers.items()):
        planes_of = zip(plain[: survey.planes], shared["ra"], shared["random"], strict=False)
        found[name] = Surroundings(
            torch.stack([regions(recognizer, *plane, survey) for plane in planes_of]).cpu(),
            {d: distances(recognizer, plain, shared[d], survey).cpu() for d in DIRECTIONS},
            F.normalize(loss_gradient(recognizer, plain, label).flatten(1), dim=1).cpu(),
        )
    return found


def similarities(found: dict[str, Surroundings], seed: int = 0) -> pd.DataFrame:
    """One row per pair of recognizers and measure: r_a, r_b, measure, value, low, high, n (images).

    region_agreement is a percentage of a plane's points, distance_rho_* Spearman's coefficient
    over images (no boundary within the radius counts as the farthest), gradient_cosine a mean
    cosine. Intervals are 95 %: normal for means, bootstrap over images for coefficients.
    """
    rows = []
    for (a, of_a), (b, of_b) in combinations(found.items(), 2):
        same = (of_a.regions == of_b.regions).double().mean(dim=(1, 2)) * 100
        measured = {"region_agreement": mean(pd.Series(same.numpy()))}
        for direction in DIRECTIONS:
            pair = of_a.distances[direction].numpy(), of_b.distances[direction].numpy()
            measured[f"distance_rho_{direction}"] = rank_correlation(*pair, seed)
        cosine = (of_a.gradient * of_b.gradient).sum(dim=1)
        measured["gradient_cosine"] = mean(pd.Series(cosine.double().numpy()))
        rows += [{"r_a": a, "r_b": b, "measure": m, **value} for m, value in measured.items()]
    return pd.DataFrame(rows)
