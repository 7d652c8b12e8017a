"""A trained processor (and transformer) for images of any size and mode.

    from ra.inference.process import load

    model = load("results/embedded/sr/ra/l0.0005/resnet18/seed0")
    model(Image.open("photo.jpg")).save("photo_x4.png")

Large images are processed in tiles with a border as wide as the network's receptive field, which is
cut off again: the result is that of the whole image, but memory does not grow with the image. Where
a pixel depends on more than that, tiles overlap and one fades into the other.
"""

import math
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor, nn

from ra.data.degradations import no_processing
from ra.data.images import to_rgb
from ra.errors import UserError
from ra.inference.deep import Deep
from ra.inference.tiles import GRID, fade_in, receptive_reach
from ra.models.checkpoints import load_processor
from ra.runtime.devices import placed

TILES = {"cpu": 512, "cuda": 1024}  # side of a tile in input pixels, without its border
WIDEST = 256  # border in pixels; for networks that see further it only costs time
LUMA = np.array([0.299, 0.587, 0.114])  # as Pillow turns RGB into grey
OnTile = Callable[[int, int], None]  # called with (tiles done, tiles in all)


class Processor:
    """A processor network (and a transformer behind it) that takes whole images.

    ``stored`` is the header of the processor's file.

    Args:
        network: degraded (N, 3, h, w) -> restored (N, 3, h * scale, w * scale), RGB in [0, 1].
        scale: up-scaling factor.
        tile: side of a tile in input pixels; images of at most one tile are processed at once.
            None is 512, on a GPU 1024. It is halved while a GPU's memory does not suffice.
    """

    def __init__(
        self, network: nn.Module, scale: int, device="cpu", tile: int | None = None
    ) -> None:
        if tile is not None and (tile < GRID or tile % GRID):
            raise UserError(f"--tile: {tile} px is not a multiple of {GRID} px")
        self.device, self.scale = torch.device(device), scale
        self.network = placed(network.eval(), self.device)
        self.multiple = math.lcm(*(getattr(part, "multiple", 1) for part in network.modules()))
        self.grid = math.lcm(GRID, self.multiple)
        self.tile = self._aligned(tile or TILES.get(self.device.type, 512))
        self.ramp = 0  # how far tiles overlap on each side, in pixels
        self.stored: dict = {}

    def _aligned(self, side: int) -> int:
        return max(side // self.grid, 1) * self.grid

    def __call__(self, image: Any, on_tile: OnTile | None = None) -> Any:
        """The restored image: grey stays grey, alpha is kept (scaled by bicubic interpolation).

        Palette and CMYK images become RGB; EXIF rotation is applied. The colour profile is kept
        if it describes RGB or grey.

        Args:
            image: Pillow's, whose 16 bits become 8, or a ``Deep``, which keeps them.
        """
        if isinstance(image, Deep):
            return self._deep(image, on_tile)
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

    def _deep(self, image: Deep, on_tile: OnTile | None) -> Deep:
        pixels, white = image.pixels, image.white
        stretched = (pixels.astype(np.float32) * (65535 / white)).round().astype(np.uint16)
        colours = stretched[..., :3] if image.mode.startswith("RGB") else stretched[..., :1]
        restored = self.pixels(np.broadcast_to(colours, (*pixels.shape[:2], 3)), on_tile)
        parts = [restored if colours.shape[2] == 3 else (restored @ LUMA)[..., None]]
        if image.mode.endswith("A"):
            alpha = to_tensor(stretched[..., -1:]).float() / 65535
            parts.append(65535 * no_processing(alpha, self.scale)[0].permute(1, 2, 0).numpy())
        whole = np.concatenate(parts, axis=2) * (white / 65535)
        return Deep(whole.round().astype(np.uint16), image.profile)

    @torch.inference_mode()
    def pixels(self, image: np.ndarray, on_tile: OnTile | None = None) -> np.ndarray:
        """uint8 or uint16 (h, w, 3) -> the same type, (h * scale, w * scale, 3)."""
        while True:
            try:
                return self._in_tiles(image, on_tile)
            except torch.OutOfMemoryError:  # a GPU's
                if self.tile <= self.grid:
                    raise
                self.tile = self._aligned(self.tile // 2)
                torch.cuda.empty_cache()

    def _in_tiles(self, image: np.ndarray, on_tile: OnTile | None) -> np.ndarray:
        (height, width), s, tile = image.shape[:2], self.scale, self.tile
        corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
        border, ramp = (self.border, self.ramp) if len(corners) > 1 else (0, 0)
        margin = border - ramp  # read, but not used
        result = np.empty((height * s, width * s, 3), image.dtype)
        for number, (top, left) in enumerate(corners, start=1):
            y0, x0 = max(0, top - ramp), max(0, left - ramp)
            y1, x1 = min(top + tile + ramp, height), min(left + tile + ramp, width)
            if left == 0:
                band = np.empty(((y1 - y0) * s, width * s, 3), image.dtype)
            above, before = min(y0, margin), min(x0, margin)
            read = image[y0 - above : y1 + margin, x0 - before : x1 + margin]
            done = self._at_once(read)[above * s :, before * s :]
            done = done[: (y1 - y0) * s, : (x1 - x0) * s]
            fade_in(band[:, x0 * s : x1 * s].swapaxes(0, 1), done.swapaxes(0, 1), left - x0, s)
            if left + tile >= width:
                fade_in(result[y0 * s : y1 * s], band, top - y0, s)
            if on_tile:
                on_tile(number, len(corners))
        return result

    def _at_once(self, part: np.ndarray) -> np.ndarray:
        """One pass, uint8 or uint16; sides are padded to ``multiple``, then cut."""
        height, width = part.shape[:2]
        least = 2 * self.multiple if self.multiple > 1 else 1  # reflection needs a neighbour
        wanted = [max(least, -(-side // self.multiple) * self.multiple) for side in (height, width)]
        part = np.pad(part, ((0, wanted[0] - height), (0, wanted[1] - width), (0, 0)), "edge")
        white = np.iinfo(part.dtype).max
        y = self.network(to_tensor(part).to(self.device).float() / white)
        return to_integers(y.clamp(0, 1), white)[: height * self.scale, : width * self.scale]

    @cached_property
    def border(self) -> int:
        """How far around a tile the image is read, in pixels, a multiple of the grid.

        The receptive field; where that is unknown or too wide, the least border with which tiles
        equal the whole. Either is checked on random content with the network's own weights. If
        none is wide enough, tiles fade into each other (``ramp``), and a line on stderr says so.
        """
        reach = receptive_reach(self.network, self.grid)
        exact = max(-(-reach // self.grid), 1) * self.grid if reach is not None else None
        if exact is not None and exact <= max(WIDEST, self.grid) and self._is_seamless(exact):
            return exact
        border = self.grid
        while not self._is_seamless(border):
            border *= 2
            if border > WIDEST:
                border = 4 * self.grid
                print(
                    f"warning: output pixels depend on more than {WIDEST} px around them: tiles of "
                    f"{self.tile} px differ from the whole image and fade into each other; give a "
                    "--tile as large as the image if memory allows",
                    file=sys.stderr,
                )
                break
        self.ramp = border // self.grid // 2 * self.grid
        return border

    def _is_seamless(self, border: int) -> bool:
        """Whether the middle of random strips stays the same, to a grey level, in a crop."""
        side, s, random = 2 * self.grid, self.scale, np.random.default_rng(0)
        length = side + 4 * border
        patches = random.uniform(0, 255, (2, -(-side // 8), -(-length // 8), 3))
        colour, contrast = patches.repeat(8, 1).repeat(8, 2)[:, :side, :length]
        strip = (colour + contrast * random.uniform(-0.5, 0.5, colour.shape)).clip(0, 255)
        strip[:, :border] /= 4  # so that statistics of the whole differ from those of the crop
        for turn in (lambda image: image, lambda image: image.swapaxes(0, 1)):
            whole, crop = (
                turn(self._at_once(turn(part.astype(np.uint8)))).astype(int)
                for part in (strip, strip[:, border:-border])
            )
            middle = whole[:, 2 * border * s :][:, : side * s]
            if np.abs(middle - crop[:, border * s :][:, : side * s]).max() > 1:
                return False
        return True


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(h, w, channels) -> (1, channels, h, w) of the same type; a copy."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def to_integers(image: Tensor, white: int) -> np.ndarray:
    """(1, 3, h, w) in [0, 1] -> uint8, or uint16 where white is above 255, (h, w, 3)."""
    kind = torch.uint8 if white == 255 else torch.uint16
    return (image[0] * white).round().to(kind).permute(1, 2, 0).cpu().numpy()


def to_bytes(image: Tensor) -> np.ndarray:
    """(1, 3, h, w) in [0, 1] -> uint8 (h, w, 3)."""
    return to_integers(image, 255)


def result_mode(image: Image.Image | Deep) -> str:
    """The mode of the restored ``image``: L, LA, RGB or RGBA."""
    if isinstance(image, Deep):
        return image.mode
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F"))
    transparent = image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return ("L" if grey else "RGB") + ("A" if transparent else "")


def load(
    model: str | Path, transformer: bool = False, device="cpu", tile: int | None = None
) -> Processor:
    """A trained processor that takes whole images; ``load_networks`` says what it can be."""
    network, stored = load_networks(model, transformer)
    processor = Processor(network, stored["network"]["scale"], device, tile)
    processor.stored = stored
    return processor


def load_networks(model: str | Path, transformer: bool = False) -> tuple[nn.Module, Any]:
    """The network of a trained processor, and its header.

    Args:
        model: a processor.safetensors, the folder with it, or ``models:/NAME/VERSION`` or
            ``models:/NAME@ALIAS`` of MLflow's registry at $MLFLOW_TRACKING_URI.
        transformer: also apply the transformer that lies beside it, whose output recognizers
            classify.
    """
    if str(model).startswith(("models:/", "runs:/")):
        from ra.tracking.run import download_model

        model = download_model(str(model))
    path = Path(model)
    path = path / "processor.safetensors" if path.is_dir() else path
    networks = [load_processor(path)]
    if transformer:
        beside = path.with_name("transformer.safetensors")
        if not beside.exists():
            raise UserError(f"{beside}: no such file; the processor was trained without one")
        networks.append(load_processor(beside))
    return nn.Sequential(*networks), networks[0].stored


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` returns: uint8 (N, h, w, 3) -> restored images."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def predict(self, images: np.ndarray, params: dict | None = None) -> np.ndarray:
        return np.stack([self.processor.pixels(image) for image in images])


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow calls this with the folder of a registered model; nothing is unpickled."""
    return PyfuncModel(load(path))
