"""Image quality: measures of a restored image against its target. A new one is a function here or
in a user's file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ra.errors import UserError, first_line, one_line
from ra.evaluation.statistics import mean
from ra.registry import Registry

if TYPE_CHECKING:  # a table needs no torch
    import pandas as pd
    from torch import Tensor

MEASURES = Registry("measure", given=("output", "target"))
DEFAULT = ("psnr", "pooled_psnr", "ssim", "image_loss")
Measure = Callable[["Tensor", "Tensor"], "Tensor"]
BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
Backbone = Annotated[Literal["alex", "vgg", "squeeze"], Field(description="network of LPIPS")]
Frame = Annotated[int, Field(ge=0, description="pixels left out along each side of an image")]
Padded = Annotated[bool, Field(description="SSIM with zeros beyond the border, not mirrored")]


def measure(
    name: str,
    unit: str,
    higher_is_better: bool,
    title: str = "",
    in_tables: bool = True,
    fetch: Callable[..., Any] | None = None,
    average: Callable[[pd.Series], dict[str, float]] = mean,
) -> Callable[[Measure], Measure]:
    """Decorator: register a function as the measure ``name``.

    The function takes output and target, float (N, 3, H, W), and returns one value per image (N,).
    The target is in [0, 1]; the output is what the processor gave and may lie outside. Further
    parameters are settings.

    Args:
        unit: such as ``dB``; ``1`` for a number without unit.
        title: heading of its column in tables; by default the name.
        in_tables: whether it is a column of the image-quality table.
        average: values of all images -> value, low, high (95 % interval) and n.
        fetch: downloads what the measure needs, given its settings; ``ra fetch-weights`` calls it.
    """

    def add(function: Measure) -> Measure:
        shown = {"title": title or name, "in_tables": in_tables, "average": average, "fetch": fetch}
        vars(function).update(unit=unit, higher_is_better=higher_is_better, **shown)
        return MEASURES.register(name)(function)

    return add


@measure("psnr", unit="dB", higher_is_better=True, title="PSNR (dB)")
def psnr(output: Tensor, target: Tensor) -> Tensor:
    """PSNR of each image, not that of the batch's mean MSE; at most 100 dB."""
    # Imported here: two seconds that training jobs need not pay.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    options: dict[str, Any] = {"data_range": 1.0, "reduction": "none", "dim": (1, 2, 3)}
    # A perfect output has an infinite PSNR, with which no mean is finite.
    return peak_signal_noise_ratio(output.clamp(0, 1), target, **options).clamp(max=100)


def mean_in_mse(decibels: pd.Series) -> dict[str, float]:
    """PSNR of the mean MSE of all images, its interval (normal in the MSE) and n."""
    errors = mean(10 ** (-decibels / 10))
    worst, best = errors["high"], max(errors["low"], 1e-10)
    value, low, high = (-10 * math.log10(error) for error in (errors["value"], worst, best))
    return {"value": value, "low": low, "high": high, "n": errors["n"]}


@measure("pooled_psnr", "dB", True, title="PSNR of mean MSE (dB)", average=mean_in_mse)
def pooled_psnr(output: Tensor, target: Tensor) -> Tensor:
    """As ``psnr``, but averaged as MSE: flat images, whose PSNR is high, count for no more."""
    return psnr(output, target)


@measure("ssim", unit="1", higher_is_better=True, title="SSIM")
def ssim(output: Tensor, target: Tensor, padded: Padded = False) -> Tensor:
    """SSIM (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5; images are mirrored at the
    border.

    Args:
        padded: zeros lie beyond the border instead, as in the released script.
    """
    from torch.nn.functional import pad
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity: Any = structural_similarity_index_measure  # a pair with other options
    options: dict[str, Any] = {"data_range": 1.0, "reduction": "none"}
    if not padded:
        return similarity(output.clamp(0, 1), target, **options)
    images = [pad(image, [5] * 4) for image in (output.clamp(0, 1), target)]
    _, whole = similarity(*images, **options, return_full_image=True)
    return whole[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))


@measure("image_loss", unit="MSE", higher_is_better=False, in_tables=False)
def image_loss(output: Tensor, target: Tensor) -> Tensor:
    """The loss that training minimises: mean squared error of the output as it is."""
    return (output - target).square().mean(dim=(1, 2, 3))


@measure("psnr_y", unit="dB", higher_is_better=True, title="PSNR of Y (dB)")
def psnr_y(output: Tensor, target: Tensor, frame: Frame = 0) -> Tensor:
    """PSNR of luma (ITU-R BT.601, 16 to 235 of 255), as papers on super-resolution give it; they
    leave out a frame as wide as the factor."""
    inner = slice(frame, -frame or None)
    both = (image.clamp(0, 1)[:, :, inner, inner] for image in (output, target))
    weights = output.new_tensor([65.481, 128.553, 24.966]).view(3, 1, 1) / 255  # 16 cancels
    return psnr(*((image * weights).sum(1, keepdim=True) for image in both))


def fetch_lpips(backbone: Backbone = "alex") -> Any:
    """The network of LPIPS; its backbone comes from torchvision's cache (TORCH_HOME)."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return _with_backbone(
        BACKBONES[backbone], lambda: LearnedPerceptualImagePatchSimilarity(backbone).net
    )


def fetch_dists() -> Any:
    """The network of DISTS; its backbone comes from torchvision's cache (TORCH_HOME)."""
    from torchmetrics.functional.image.dists import DISTSNetwork

    return _with_backbone("vgg16", DISTSNetwork)


def _with_backbone(arch: str, load: Callable[[], Any]) -> Any:
    from torchvision.models import get_model_weights

    from ra.models.recognizers import fetch_weights

    return fetch_weights(load, get_model_weights(arch)["DEFAULT"].url.rpartition("/")[2])


@cache
def _on(device: Any, fetch: Callable[..., Any], *settings: str) -> Any:
    return fetch(*settings).to(device)


@measure("lpips", unit="1", higher_is_better=False, title="LPIPS", fetch=fetch_lpips)
def lpips(output: Tensor, target: Tensor, backbone: Backbone = "alex") -> Tensor:
    """LPIPS (Zhang et al. 2018): weighted distance of features of a classifier."""
    network = _on(output.device, fetch_lpips, backbone)
    return network(output.clamp(0, 1), target, normalize=True).reshape(len(output))


@measure("dists", unit="1", higher_is_better=False, title="DISTS", fetch=fetch_dists)
def dists(output: Tensor, target: Tensor) -> Tensor:
    """DISTS (Ding et al. 2020): similarity of structure and texture in features of VGG-16."""
    return _on(output.device, fetch_dists)(output.clamp(0, 1), target).reshape(len(output))


def build_measures(
    names: Sequence[str] = DEFAULT, settings: Mapping[str, Any] = {}
) -> dict[str, Measure]:
    """The measures called ``names``; each takes those of ``settings`` that are its own.

    Raises:
        UserError: an unknown measure, or a setting that none of them has.
    """
    measures: dict[str, Measure] = {}
    left = set(settings)
    for name in names:
        own = MEASURES.settings(name).model_fields.keys() & settings.keys()
        given = MEASURES.check(name, {key: settings[key] for key in own}, f"{name}: ")
        measures[name] = partial(MEASURES.get(name), **given)
        left -= own
    if left:
        raise UserError(f"{sorted(left)[0]}: none of the measures {', '.join(names)} has it")
    return measures


def image_quality(
    output: Tensor, target: Tensor, measures: Mapping[str, Measure] | None = None
) -> dict[str, Tensor]:
    """Each measure of each image: name -> (N,); output and target (N, 3, H, W)."""
    measures = build_measures() if measures is None else measures
    found = {}
    for name, one in measures.items():
        try:
            values = found[name] = one(output, target)
        except RuntimeError as error:
            if one_line(error):  # out of memory
                raise
            size = "x".join(map(str, reversed(output.shape[2:])))
            raise UserError(f"measure {name}: fails on {size} px ({first_line(error)})") from None
        if values.shape != output.shape[:1]:
            shape = tuple(values.shape)
            raise UserError(
                f"measure {name}: returns shape {shape} for {len(output)} images; it must be one "
                "value per image"
            )
    return found
