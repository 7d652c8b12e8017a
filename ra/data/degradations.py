"""The tasks: each degrades clean crops, which the processor learns to restore.

A task is a dataclass whose fields are its settings; docs/extend.md shows one in a user's file.
"""

import io
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from ra.errors import UserError
from ra.registry import Registry

TASKS = Registry("task")
PAPER_TASKS = ("sr", "dn", "jpeg")  # of an experiment that names none


# (seed, epoch, index) alone decides an image's random numbers: they are the same for any number of
# workers and after a resume. Validation images have VALIDATION for an epoch and 0 for a seed, so
# that their noise is the same in every experiment.
VALIDATION = 2**16 - 1
Key = tuple[int, int, int]


class _Kept(threading.local):
    """A generator per thread: setting its key takes a tenth of the time of making a new one."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=[0, 0])
        self.start = self.bits.state
        self.generator = np.random.Generator(self.bits)


_kept = _Kept()


def random_generator(key: Key, stream: int) -> np.random.Generator:
    """Counter-based generator of one image: key (seed, epoch, index) and a stream number.

    Streams keep the uses of one key apart: 0 is the crop, 1 the noise, 2 the order of an epoch,
    3 a setting that is a range. Valid until the thread's next call.
    """
    seed, epoch, index = key
    _kept.start["state"]["key"][:] = seed * 16 + stream, epoch << 48 | index
    _kept.bits.state = _kept.start
    return _kept.generator


def _in_order(value: Any) -> Any:
    if isinstance(value, list) and (len(value) != 2 or value[0] > value[1]):
        raise ValueError(f"{value} is no range; write [low, high], the lower number first")
    return value


Number = TypeVar("Number")
Ranged = Annotated[Number | list[Number], AfterValidator(_in_order)]  # a number or [low, high]


def draw(setting: float | Sequence[float], keys: Sequence[Key], stream: int = 3) -> np.ndarray:
    """The value of a ``Ranged`` setting for each image, (N,): fixed, or even over its range.

    A task with several ranges gives each a ``stream`` of its own.
    """
    if not isinstance(setting, Sequence):
        return np.full(len(keys), setting)
    low, high = setting
    drawn = np.array([random_generator(key, stream).random() for key in keys])
    if isinstance(low, int):
        return low + (drawn * (high - low + 1)).astype(int)
    return low + drawn * (high - low)


@TASKS.register("sr")
@dataclass(frozen=True)
class SuperResolution:
    """`sr`: bicubic down-sampling, antialiased as PIL does it (equal to 1/255)."""

    title = "Super-resolution"
    factor: Annotated[int, Field(ge=2, description="up-scaling factor: 2, 3, 4, 6, 8 …")] = 4

    def __post_init__(self) -> None:
        if pow(6, self.factor, self.factor):
            raise UserError(f"factor: {self.factor} is not a product of twos and threes")

    @property
    def scale(self) -> int:
        return self.factor

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, 3, H/factor, W/factor)."""
        height, width = target.shape[-2:]
        if height % self.factor or width % self.factor:
            raise UserError(
                f"crop: {height}x{width} px is not divisible by the sr factor {self.factor}"
            )
        size = (height // self.factor, width // self.factor)
        return F.interpolate(target, size=size, mode="bicubic", antialias=True)


@TASKS.register("dn")
@dataclass(frozen=True)
class Denoising:
    """`dn`: additive Gaussian noise, clamped to [0, 1]."""

    title = "Denoising"
    sigma: Annotated[
        Ranged[Annotated[float, Field(gt=0, le=1)]],
        Field(description="standard deviation of the noise, full range is 1"),
    ] = 0.1
    scale = 1

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, 3, H, W) in [0, 1]; one generator per image."""
        shape = tuple(target.shape[1:])
        noise = np.empty((len(keys), *shape), np.float32)
        for image, key in zip(noise, keys, strict=True):
            random_generator(key, 1).standard_normal(dtype=np.float32, out=image)
        sigma = draw(self.sigma, keys).astype(np.float32)
        noisy = torch.from_numpy(noise).mul_(torch.from_numpy(sigma)[:, None, None, None])
        return noisy.add_(target.float().div_(255)).clamp_(0, 1)


@TASKS.register("jpeg")
@dataclass(frozen=True)
class JpegDeblocking:
    """`jpeg`: JPEG compression and decompression in memory."""

    title = "JPEG deblocking"
    quality: Annotated[
        Ranged[Annotated[int, Field(ge=1, le=95)]], Field(description="libjpeg quality")
    ] = 10
    scale, kind = 1, "JPEG"

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, 3, H, W)."""
        return _each(self._round_trip, target, draw(self.quality, keys))

    def _round_trip(self, image: np.ndarray, quality: int) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, self.kind, quality=quality)
        return np.asarray(Image.open(buffer, formats=[self.kind]))


@TASKS.register("webp")
@dataclass(frozen=True)
class WebpDeblocking(JpegDeblocking):
    """`webp`: lossy WebP compression and decompression in memory."""

    title = "WebP deblocking"
    quality: Annotated[
        Ranged[Annotated[int, Field(ge=0, le=100)]], Field(description="libwebp quality")
    ] = 10
    kind = "WEBP"


@TASKS.register("blur")
@dataclass(frozen=True)
class Deblurring:
    """`blur`: Gaussian blur; the image continues beyond its border as its mirror image."""

    title = "Deblurring"
    sigma: Annotated[
        Ranged[Annotated[float, Field(gt=0, le=100)]],
        Field(description="standard deviation of the blur, pixels"),
    ] = 1.5
    scale = 1

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, 3, H, W)."""
        return _each(self._blurred, target, draw(self.sigma, keys))

    def _blurred(self, image: np.ndarray, sigma: float) -> np.ndarray:
        from scipy.ndimage import gaussian_filter  # a third of a second that other tasks save

        smooth = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))
        return smooth.round().astype(np.uint8)


def _each(degrade: Callable[[np.ndarray, Any], np.ndarray], target: Tensor, drawn) -> Tensor:
    """``degrade`` each image as uint8 (H, W, 3), with the value that was drawn for it."""
    images = target.permute(0, 2, 3, 1).contiguous().numpy()
    degraded = [degrade(image, value.item()) for image, value in zip(images, drawn, strict=True)]
    return torch.from_numpy(np.stack(degraded)).permute(0, 3, 1, 2)


def _steps(given: Any) -> list[dict[str, dict[str, Any]]]:
    """Steps as a user writes them (names, or YAML on the command line), with all settings."""
    steps = []
    for number, step in enumerate(given if isinstance(given, list) else [given], 1):
        try:
            step = yaml.safe_load(step) if isinstance(step, str) else step
            ((name, own),) = (step if isinstance(step, dict) else {step: {}}).items()
            if name == "chain":
                raise UserError("a chain holds no other chain")
            steps.append({name: TASKS.check(name, own or {})})
        except UserError as error:
            raise ValueError(f"step {number}: {error}") from None
        except (ValueError, TypeError, AttributeError, yaml.YAMLError):
            raise ValueError(f"step {number}: {step!r} is no 'dn: {{sigma: 0.1}}'") from None
    return steps


@TASKS.register("chain")
@dataclass(frozen=True)
class Chain:
    """`chain`: several tasks, one after the other; between two of them images have 8 bits."""

    title = "Blind restoration"
    steps: Annotated[
        list[dict[str, dict[str, Any]]],
        BeforeValidator(_steps),
        Field(min_length=1, max_length=16, description="tasks in order, each with its settings"),
    ]

    @cached_property
    def tasks(self) -> list[Any]:
        return [build_task(name, **own) for step in self.steps for name, own in step.items()]

    @property
    def scale(self) -> int:
        return math.prod(task.scale for task in self.tasks)

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> what the last step returns."""
        for number, task in enumerate(self.tasks):
            if target.is_floating_point():
                target = target.mul(255).round().byte()
            # Two steps of one kind draw numbers of their own. No index has 44 bits.
            own = [(seed, epoch, index | number << 44) for seed, epoch, index in keys]
            target = task.degrade(target, own)
        return target


@TASKS.register("paired")
@dataclass(frozen=True)
class Paired:
    """`paired`: the input of each image is read from another folder, not made."""

    title = "Paired restoration"
    input: Annotated[
        str | None,
        BeforeValidator(lambda value: None if value == "none" else value),
        Field(description="folder of the inputs, laid out as the data; none: the data are inputs"),
    ] = None
    factor: Annotated[
        int | None, Field(ge=1, description="up-scaling factor; none finds it from the sizes")
    ] = None
    reads = True

    @property
    def scale(self) -> int:
        return self.factor or 1

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """``target``, which is an input already; UserError where inputs are read."""
        if self.input:
            raise UserError("paired: inputs are read, not made; give images that are degraded")
        return target


def inputs_of(task: Any) -> str | None:
    """The folder from which ``task`` reads inputs; empty: the data are inputs; None: none."""
    return os.path.expanduser(task.input or "") if getattr(task, "reads", False) else None


def build_task(name: str, **settings: Any) -> Any:
    """The degradation called ``name``; settings that it does not have are an error."""
    return TASKS.build(name, settings)


def no_processing(degraded: Tensor, scale: int, rounded: bool = False) -> Tensor:
    """The 'no processing' row: the degraded image itself, bicubically up-sampled for sr.

    Args:
        degraded: float (N, 3, h, w) in [0, 1].
        scale: up-scaling factor; 1 returns ``degraded``.
        rounded: up-sample 8-bit pixels, as PIL does it for the released script.

    Returns:
        float (N, 3, h * scale, w * scale) in [0, 1].
    """
    if scale == 1:
        return degraded
    size = [side * scale for side in degraded.shape[-2:]]
    if rounded:
        pixels = degraded.mul(255).round().to("cpu", torch.uint8)  # CUDA cannot resize uint8
        larger = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
        return larger.to(degraded.device).float().div_(255)
    return F.interpolate(degraded, size=size, mode="bicubic", antialias=True).clamp_(0, 1)
