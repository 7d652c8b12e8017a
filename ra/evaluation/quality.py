"""Image quality: measures of a restored image against its target. A new one is a function here or
in a user's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ra.errors import UserError
from ra.registry import Registry

if TYPE_CHECKING:  # a table needs no torch
    from torch import Tensor

MEASURES = Registry("measure", given=("output", "target"))
DEFAULT = ("psnr", "ssim", "image_loss")
Measure = Callable[["Tensor", "Tensor"], "Tensor"]


def measure(
    name: str, unit: str, higher_is_better: bool, title: str = "", in_tables: bool = True
) -> Callable[[Measure], Measure]:
    """Decorator: register a function as the measure ``name``.

    The function takes output and target, float (N, 3, H, W), and returns one value per image (N,).
    The target is in [0, 1]; the output is what the processor gave and may lie outside. Further
    parameters are settings.

    Args:
        unit: such as ``dB``; ``1`` for a number without unit.
        title: heading of its column in tables; by default the name.
        in_tables: whether it is a column of the image-quality table.
    """

    def add(function: Measure) -> Measure:
        shown = {"title": title or name, "in_tables": in_tables}
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


@measure("ssim", unit="1", higher_is_better=True, title="SSIM")
def ssim(output: Tensor, target: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, without the border."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity: Any = structural_similarity_index_measure  # a pair with other options
    return similarity(output.clamp(0, 1), target, data_range=1.0, reduction="none")


@measure("image_loss", unit="MSE", higher_is_better=False, in_tables=False)
def image_loss(output: Tensor, target: Tensor) -> Tensor:
    """The loss that training minimises: mean squared error of the output as it is."""
    return (output - target).square().mean(dim=(1, 2, 3))


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
    found = {name: one(output, target) for name, one in measures.items()}
    for name, values in found.items():
        if values.shape != output.shape[:1]:
            shape = tuple(values.shape)
            raise UserError(
                f"measure {name}: returns shape {shape} for {len(output)} images; it must be one "
                "value per image"
            )
    return found
