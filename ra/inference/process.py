"""A trained processor (and transformer) for images of any size and mode.

    from ra.inference.process import load

    model = load("results/embedded/sr/ra/l0.0005/resnet18/seed0")
    model(Image.open("photo.jpg")).save("photo_x4.png")

Large images are processed in tiles with a border as wide as the network's receptive field, which is
cut off again: the result is that of the whole image, but memory does not grow with the image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor, nn

from ra.data.images import to_rgb
from ra.errors import UserError
from ra.models.checkpoints import load_processor
from ra.runtime.devices import placed

TILE = 512  # side of a tile in input pixels, without its border
GRID = 16  # tiles start at multiples of it, so that strides of up to 16 px stay aligned
PROBES = (64, 256, 1024)  # widths of the strips that measure the receptive field, in pixels
OnTile = Callable[[int, int], None]  # called with (tiles done, tiles in all)


class Processor:
    """A processor network (and a transformer behind it) that takes whole images.

    ``stored`` is the header of the processor's file.

    Args:
        network: degraded (N, 3, h, w) -> restored (N, 3, h * scale, w * scale), RGB in [0, 1].
        scale: up-scaling factor.
        tile: side of a tile in input pixels; images of at most one tile are processed at once.
    """

    def __init__(self, network: nn.Module, scale: int, device="cpu", tile: int = TILE) -> None:
        if tile < GRID or tile % GRID:
            raise UserError(f"--tile: {tile} px is not a multiple of {GRID} px")
        self.device, self.scale, self.tile = torch.device(device), scale, tile
        self.network = placed(network.eval(), self.device)
        self.multiple = max(getattr(part, "multiple", 1) for part in network.modules())
        self.stored: dict = {}

    def __call__(self, image: Image.Image, on_tile: OnTile | None = None) -> Image.Image:
        """The restored image: grey stays grey, alpha is kept (scaled by bicubic interpolation).

        Palette and CMYK images become RGB, 16-bit ones 8-bit; EXIF rotation is applied. The colour
        profile is kept if it describes RGB or grey.
        """
        profile = image.info.get("icc_profile", b"")
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
        restored = Image.fromarray(self.pixels(np.asarray(to_rgb(image)), on_tile))
        mode = result_mode(image)
        if mode.startswith("L"):
            restored = restored.convert("L")
        if mode.endswith("A"):
            alpha = image.convert("RGBA").getchannel("A")
            restored.putalpha(alpha.resize(restored.size, Image.Resampling.BICUBIC))
        if profile[16:20] in (b"RGB ", b"GRAY"):  # the colour space, ICC.1 section 7.2.6
            restored.info["icc_profile"] = profile
        return restored

    @torch.inference_mode()
    def pixels(self, image: np.ndarray, on_tile: OnTile | None = None) -> np.ndarray:
        """uint8 (h, w, 3) -> uint8 (h * scale, w * scale, 3)."""
        (height, width), s, tile = image.shape[:2], self.scale, self.tile
        corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
        border = self.border if len(corners) > 1 else 0
        result = np.empty((height * s, width * s, 3), np.uint8)
        for number, (top, left) in enumerate(corners, start=1):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y0, x0 = max(0, top - border), max(0, left - border)
            done = self._at_once(image[y0 : bottom + border, x0 : right + border])
            inner = np.s_[(top - y0) * s : (bottom - y0) * s, (left - x0) * s : (right - x0) * s]
            result[top * s : bottom * s, left * s : right * s] = done[inner]
            if on_tile:
                on_tile(number, len(corners))
        return result

    def _at_once(self, part: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) -> uint8 in one pass; sides are padded to ``multiple``, then cut."""
        height, width = part.shape[:2]
        least = 2 * self.multiple if self.multiple > 1 else 1  # reflection needs a neighbour
        wanted = [max(least, -(-side // self.multiple) * self.multiple) for side in (height, width)]
        part = np.pad(part, ((0, wanted[0] - height), (0, wanted[1] - width), (0, 0)), "edge")
        y = self.network(to_tensor(part).to(self.device).float() / 255)
        return to_bytes(y.clamp(0, 1))[: height * self.scale, : width * self.scale]

    @cached_property
    def border(self) -> int:
        """How far around a pixel its output depends on the input, in pixels, a multiple of GRID.

        Raises:
            UserError: it depends on the whole image (global pooling, say): tiles would differ.
        """
        reach = receptive_reach(self.network)
        if reach is None:
            raise UserError(
                "each output pixel of this processor depends on the whole image, so an image "
                f"larger than {self.tile} px cannot be cut into tiles; give a larger --tile"
            )
        return -(-reach // GRID) * GRID


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) -> uint8 (1, 3, h, w); a copy."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def to_bytes(image: Tensor) -> np.ndarray:
    """(1, 3, h, w) in [0, 1] -> uint8 (h, w, 3)."""
    return (image[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def receptive_reach(network: nn.Module) -> int | None:
    """How many pixels beyond a block of GRID x GRID its output depends on; None if unbounded.

    Measured, so that it holds for any architecture: a copy of the network gets positive weights and
    no biases, so that nothing cancels and no unit is dead. The gradient of a block in the middle of
    a strip then shows which input pixels the block depends on.
    """
    with torch.inference_mode(False), torch.no_grad():
        probe = copy.deepcopy(network).cpu().double().eval()
        for name, tensor in [*probe.named_parameters(), *probe.named_buffers()]:
            if tensor.is_floating_point():
                last = name.rpartition(".")[2]
                zero = last in ("bias", "running_mean")
                tensor.fill_(0 if zero else 1 if tensor.dim() < 2 else 1 / tensor[0].numel())
        probe.requires_grad_(False)
    reaches = [_reach_along(probe, axis) for axis in (2, 3)]
    return None if None in reaches else max(reaches)


def _reach_along(probe: nn.Module, axis: int) -> int | None:
    for length in PROBES:
        shape = [1, 3, GRID, GRID]
        shape[axis] = length
        # Tiny values, for which saturating units (tanh, sigmoid) are linear.
        with torch.inference_mode(False), torch.enable_grad():
            strip = torch.full(shape, 1e-6, dtype=torch.float64, requires_grad=True)
            output = probe(strip)
            scale, middle = output.shape[axis] // length, length // 2
            output.narrow(axis, middle * scale, GRID * scale).sum().backward()
        used = strip.grad[0].amax(0).amax(3 - axis).nonzero().flatten()
        if not len(used):
            return None
        first, last = int(used[0]), int(used[-1])
        if first > 0 and last < length - 1:
            return max(middle - first, last - (middle + GRID - 1), 0)
    return None


def result_mode(image: Image.Image) -> str:
    """The mode of the restored ``image``: L, LA, RGB or RGBA."""
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F"))
    transparent = image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return ("L" if grey else "RGB") + ("A" if transparent else "")


def load(model: str | Path, transformer: bool = False, device="cpu", tile: int = TILE) -> Processor:
    """A trained processor that takes whole images.

    Args:
        model: a processor.safetensors, the folder with it, or ``models:/NAME/VERSION`` of
            MLflow's registry at $MLFLOW_TRACKING_URI.
        transformer: also apply the transformer that lies beside it, whose output recognizers
            classify.
    """
    if str(model).startswith(("models:/", "runs:/")):
        from ra.tracking.run import download_model

        model = download_model(str(model))
    path = Path(model)
    path = path / "processor.safetensors" if path.is_dir() else path
    networks = [load_processor(path)]
    stored: Any = networks[0].stored
    if transformer:
        beside = path.with_name("transformer.safetensors")
        if not beside.exists():
            raise UserError(f"{beside}: no such file; the processor was trained without one")
        networks.append(load_processor(beside))
    processor = Processor(nn.Sequential(*networks), stored["network"]["scale"], device, tile)
    processor.stored = stored
    return processor


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` returns: uint8 (N, h, w, 3) -> restored images."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def predict(self, images: np.ndarray, params: dict | None = None) -> np.ndarray:
        return np.stack([self.processor.pixels(image) for image in images])


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow calls this with the folder of a registered model; nothing is unpickled."""
    return PyfuncModel(load(path))
