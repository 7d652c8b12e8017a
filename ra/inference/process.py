"""Use of a trained P (and T): images of any size and mode in, restored images out.

    from ra.inference.process import load

    model = load("results/embedded/sr/ra/l0.001/resnet18/seed0")
    model(Image.open("photo.jpg")).save("photo_x4.png")

Large images go through the network in tiles. Each tile is read with a border as wide as the
network's receptive field, and the border of its result is thrown away, so that the result is
that of the whole image at once while memory does not grow with it.
"""

from __future__ import annotations

import copy
import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from ra.data.images import EXTENSIONS, to_rgb
from ra.errors import UserError
from ra.files import atomic
from ra.models.checkpoints import load_processor, read_header
from ra.runtime.devices import placed

TILE = 512  # side of a tile in input pixels, without its border
GRID = 16  # tiles begin at multiples of it, so strides of up to 16 px fall as on the whole image
PROBES = (64, 256, 1024)  # widths on which a receptive field is looked for, in pixels
Progress = Callable[[int, int], None]  # (tiles done, tiles in all)


class Processor:
    """P (and T behind it), ready for images; ``stored`` is the header of P's file.

    Args:
        network: degraded (N, 3, h, w) -> restored (N, 3, h * scale, w * scale), RGB in [0, 1].
        scale: up-scaling factor.
        tile: side of a tile in input pixels; images of at most one tile are done at once.
    """

    def __init__(self, network: nn.Module, scale: int, device="cpu", tile: int = TILE) -> None:
        if tile < GRID or tile % GRID:
            raise UserError(f"--tile: {tile} px is not a multiple of {GRID} px")
        self.device, self.scale, self.tile = torch.device(device), scale, tile
        self.network = placed(network.eval(), self.device)
        self.multiple = max(getattr(part, "multiple", 1) for part in network.modules())
        self.stored: dict = {}
        self._reach: int | None = None

    def __call__(self, image: Image.Image, progress: Progress | None = None) -> Image.Image:
        """The restored image: grey stays grey, alpha is kept (scaled by bicubic interpolation).

        Palette and CMYK images become RGB, 16-bit ones 8-bit; EXIF rotation is applied and the
        colour profile kept.
        """
        profile = image.info.get("icc_profile")
        image = ImageOps.exif_transpose(image)
        grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
        alpha = _alpha(image)
        restored = Image.fromarray(self.pixels(np.asarray(to_rgb(image)), progress))
        restored = restored.convert("L") if grey else restored
        if alpha is not None:
            restored.putalpha(alpha.resize(restored.size, Image.Resampling.BICUBIC))
        if profile and image.mode not in ("CMYK", "P"):
            restored.info["icc_profile"] = profile
        return restored

    @torch.inference_mode()
    def pixels(self, image: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """uint8 (h, w, 3) -> uint8 (h * scale, w * scale, 3)."""
        height, width = image.shape[:2]
        s, tiles = self.scale, list(self._tiles(height, width))
        result = np.empty((height * s, width * s, 3), np.uint8)
        for number, (top, left) in enumerate(tiles):
            bottom, right = min(top + self.tile, height), min(left + self.tile, width)
            if len(tiles) == 1:
                y0, x0, y1, x1 = 0, 0, height, width
            else:
                border = self.reach()
                y0, x0 = max(0, top - border), max(0, left - border)
                y1, x1 = min(height, bottom + border), min(width, right + border)
            done = self._at_once(image[y0:y1, x0:x1])
            inner = np.s_[(top - y0) * s : (bottom - y0) * s, (left - x0) * s : (right - x0) * s]
            result[top * s : bottom * s, left * s : right * s] = done[inner]
            if progress:
                progress(number + 1, len(tiles))
        return result

    def _tiles(self, height: int, width: int) -> Iterator[tuple[int, int]]:
        """Upper left corners of the tiles."""
        if height <= self.tile and width <= self.tile:
            yield 0, 0
            return
        for top in range(0, height, self.tile):
            yield from ((top, left) for left in range(0, width, self.tile))

    def _at_once(self, part: np.ndarray) -> np.ndarray:
        """uint8 (h, w, 3) -> uint8 in one pass; sides are filled up to ``multiple``, then cut."""
        height, width = part.shape[:2]
        least = 2 * self.multiple if self.multiple > 1 else 1  # a single step has no neighbour
        wanted = [max(least, -(-side // self.multiple) * self.multiple) for side in (height, width)]
        part = np.pad(part, ((0, wanted[0] - height), (0, wanted[1] - width), (0, 0)), "edge")
        x = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
        y = self.network(x.to(self.device).float() / 255)[0].clamp(0, 1)
        bytes_ = (y * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return bytes_[: height * self.scale, : width * self.scale]

    def reach(self) -> int:
        """How far around a pixel the network reads, in input pixels, rounded up to the grid.

        Raises:
            UserError: it reads the whole image (a global pooling, say), so there are no tiles.
        """
        if self._reach is None:
            found = receptive_reach(self.network)
            if found is None:
                raise UserError(
                    "this P reads the whole image for each pixel, so large images cannot be cut "
                    f"into tiles of {self.tile} px; give a larger --tile"
                )
            self._reach = -(-found // GRID) * GRID
        return self._reach


def receptive_reach(network: nn.Module) -> int | None:
    """How many pixels beyond a block of GRID x GRID its output depends on; None if unbounded.

    Measured rather than computed, so that it holds for any P: the network is copied with all
    weights positive and no biases, so that nothing cancels and no unit is dead, and a gradient
    is followed from the block in the middle back to a strip of input.
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
        # So small that saturating units (tanh, sigmoid) are straight lines.
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


def _alpha(image: Image.Image) -> Image.Image | None:
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return image.convert("RGBA").getchannel("A")
    if "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return None


def load(model: str | Path, transformer: bool = False, device="cpu", tile: int = TILE) -> Processor:
    """A trained P, ready for images.

    Args:
        model: a processor.safetensors, the folder with it, or ``models:/NAME/VERSION`` of
            MLflow's registry at $MLFLOW_TRACKING_URI.
        transformer: also apply T, which lies beside P: the image that R reads.
    """
    path = processor_file(model)
    networks, stored = [load_processor(path)], read_header(path)
    if transformer:
        beside = path.with_name("transformer.safetensors")
        if not beside.exists():
            raise UserError(f"{beside}: no such file; this P was trained without a T")
        networks.append(load_processor(beside))
    processor = Processor(
        nn.Sequential(*networks), stored["network"]["scale"], device=device, tile=tile
    )
    processor.stored = stored
    return processor


def processor_file(model: str | Path) -> Path:
    """The processor.safetensors that ``model`` (see ``load``) means."""
    if str(model).startswith(("models:/", "runs:/")):
        from ra.tracking.run import download_model

        model = download_model(str(model))
    path = Path(model)
    return path / "processor.safetensors" if path.is_dir() else path


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` gives: uint8 images (N, h, w, 3) -> restored ones."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def predict(self, images: np.ndarray, params: dict | None = None) -> np.ndarray:
        return np.stack([self.processor.pixels(image) for image in images])


def _load_pyfunc(path: str) -> PyfuncModel:
    """MLflow calls this with the folder of a registered model; nothing is unpickled."""
    return PyfuncModel(load(path))


def find_inputs(inputs: Sequence[str]) -> list[tuple[Path, Path]]:
    """(image, its place below the output folder) of files, folders and glob patterns.

    Raises:
        UserError: a pattern or path that matches nothing, a folder without images.
    """
    found: list[tuple[Path, Path]] = []
    for text in inputs:
        paths = [Path(text)] if Path(text).exists() else [Path(p) for p in sorted(glob.glob(text))]
        if not paths:
            raise UserError(f"{text}: no such file, folder or pattern")
        for path in paths:
            if path.is_dir():
                files = sorted(p for p in path.rglob("*") if p.name.lower().endswith(EXTENSIONS))
                if not files:
                    raise UserError(f"{path}: no image in it ({', '.join(EXTENSIONS)})")
                found += [(file, file.relative_to(path)) for file in files]
            else:
                found.append((path, Path(path.name)))
    return found


def plan(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """(image, result file) of every input; one file may be named, several go into a folder.

    In a folder every result is a PNG, which loses nothing.

    Raises:
        UserError: two results would be one file, or a result would replace an input.
    """
    found = find_inputs(inputs)
    if len(found) == 1 and not out.is_dir() and out.suffix:
        if out.suffix.lower() not in Image.registered_extensions():
            raise UserError(f"{out}: no image format is called {out.suffix}; try .png")
        pairs = [(found[0][0], out)]
    else:
        if out.is_file():
            raise UserError(f"{out}: is a file; {len(found)} results need a folder")
        pairs = [(file, out / place.with_suffix(".png")) for file, place in found]
    taken: dict[Path, Path] = {}
    sources = {source.resolve() for source, _ in pairs}
    for source, result in pairs:
        if result in taken:
            raise UserError(f"{source} and {taken[result]} would both become {result}; rename one")
        if result.resolve() in sources:
            raise UserError(f"{result}: would replace an input; choose another output folder")
        taken[result] = source
    return pairs


def read(path: Path) -> Image.Image:
    """Open and decode an image; UserError names the file and the reason."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Image.DecompressionBombError:
        raise UserError(f"{path}: has too many pixels to decode safely; cut it first") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = "is not an image" if "cannot identify" in str(error) else f"unreadable ({error})"
        raise UserError(f"{path}: {reason}".replace("\n", " ")) from None


def save(image: Image.Image, path: Path) -> None:
    """Write ``image``, with its colour profile; formats without alpha get white behind it."""
    lossy = path.suffix.lower() in (".jpg", ".jpeg", ".bmp")
    if lossy and image.mode in ("RGBA", "LA"):
        white = Image.new(image.mode, image.size, "white")
        image = Image.alpha_composite(white.convert("RGBA"), image.convert("RGBA")).convert(
            "RGB" if image.mode == "RGBA" else "L"
        )
    options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    with atomic(path) as temporary:
        image.save(temporary, **options)
