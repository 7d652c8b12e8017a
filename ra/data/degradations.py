"""The tasks: each degrades clean crops, which the processor learns to restore.

A task is a dataclass whose fields are its settings; docs/extend.md shows one in a user's file.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor

from ra.errors import UserError
from ra.registry import Registry

TASKS = Registry("task")


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

    Streams keep the uses of one key apart: 0 is the crop, 1 the noise, 2 the order of an epoch.
    Valid until the thread's next call.
    """
    seed, epoch, index = key
    _kept.start["state"]["key"][:] = seed * 16 + stream, epoch << 48 | index
    _kept.bits.state = _kept.start
    return _kept.generator


@TASKS.register("sr")
@dataclass(frozen=True)
class SuperResolution:
    """`sr`: bicubic down-sampling, antialiased as PIL does it (equal to 1/255)."""

    title = "Super-resolution"
    factor: Annotated[int, Field(ge=2, description="up-scaling factor, a power of two")] = 4

    def __post_init__(self) -> None:
        if self.factor & (self.factor - 1):
            raise UserError(f"factor: {self.factor} is not a power of two")

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
        float, Field(gt=0, le=1, description="standard deviation of the noise, full range is 1")
    ] = 0.1
    scale = 1

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> float32 (N, 3, H, W) in [0, 1]; one generator per image."""
        shape = tuple(target.shape[1:])
        noise = np.empty((len(keys), *shape), np.float32)
        for image, key in zip(noise, keys, strict=True):
            random_generator(key, 1).standard_normal(dtype=np.float32, out=image)
        noisy = torch.from_numpy(noise).mul_(self.sigma)
        return noisy.add_(target.float().div_(255)).clamp_(0, 1)


@TASKS.register("jpeg")
@dataclass(frozen=True)
class JpegDeblocking:
    """`jpeg`: JPEG compression and decompression in memory."""

    title = "JPEG deblocking"
    quality: Annotated[int, Field(ge=1, le=95, description="libjpeg quality")] = 10
    scale = 1

    def degrade(self, target: Tensor, keys: Sequence[Key]) -> Tensor:
        """uint8 (N, 3, H, W) -> uint8 (N, 3, H, W)."""
        images = target.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(np.stack([self._round_trip(i) for i in images])).permute(0, 3, 1, 2)

    def _round_trip(self, image: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=self.quality)
        # The decoder alone: what Image.open would find out from the file is known.
        size = image.shape[1::-1]
        return np.asarray(Image.frombytes("RGB", size, buffer.getvalue(), "jpeg", "RGB", ""))


def build_task(name: str, **settings: Any) -> Any:
    """The degradation called ``name``; settings that it does not have are an error."""
    return TASKS.build(name, settings)


def no_processing(degraded: Tensor, scale: int) -> Tensor:
    """The 'no processing' row: the degraded image itself, bicubically up-sampled for sr.

    Args:
        degraded: float (N, 3, h, w) in [0, 1].
        scale: up-scaling factor; 1 returns ``degraded``.

    Returns:
        float (N, 3, h * scale, w * scale) in [0, 1].
    """
    if scale == 1:
        return degraded
    size = [side * scale for side in degraded.shape[-2:]]
    return F.interpolate(degraded, size=size, mode="bicubic", antialias=True).clamp_(0, 1)
