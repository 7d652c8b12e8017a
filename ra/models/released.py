"""The authors' released checkpoints: whole pickled modules, read without executing anything.

A file is what ``torch.save(DataParallel(ResNet(...)))`` writes in torch 0.4 and later, as a zip or
as the older stream of pickles. It is read as inert records (``ra.models.inert_pickle``); tensors
are cut out of the raw bytes afterwards. A compressed or overlapping record, more numbers than the
file holds, or a network without end is refused.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ra.errors import UserError
from ra.models.checkpoints import build
from ra.models.inert_pickle import MOST, Reader, Record, Storage, View
from ra.models.processors import build_processor

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def import_checkpoint(path: Path) -> nn.Module:
    """The processor (SRResNet) or transformer (the pix2pix generator) in one of the authors' files.

    Returns:
        Our module in evaluation mode, with ``header`` as ``build_processor`` sets it; its
        outputs are those of the pickled one.

    Raises:
        UserError: not such a file, damaged, of another network, or with a global that is not on
            the list, which is named.
    """
    try:
        root, read = _open(path)
        network = _unwrapped(root)
        layers = _layers(network)
        views = [view for layer in layers for view in _own(layer)]
        if sum(math.prod(view.size) for view in views) > path.stat().st_size:
            raise ValueError("more numbers than the file has bytes")
        return _ours(path, network, layers, [read(view) for view in views])
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    # A damaged pickle raises whatever its bytes happen to mean.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:120]
        raise UserError(f"{path}: damaged, or not a checkpoint of torch.save ({reason})") from None


def _open(path: Path) -> tuple[Any, Callable[[View], Tensor]]:
    """The pickled object, and a function that makes a tensor of a view."""
    if zipfile.is_zipfile(path):
        return _open_zip(path)
    with open(path, "rb") as handle:
        return _open_stream(path, handle)


def _open_zip(path: Path) -> tuple[Any, Callable[[View], Tensor]]:
    """torch >= 1.6: NAME/data.pkl, and one NAME/data/KEY for every storage."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        # torch stores without compression, each record in bytes of its own.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("compressed records")
        if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
            raise ValueError("records that overlap")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise UserError(f"{path}: written on a big-endian machine, which is not supported")
        with archive.open(members["data.pkl"]) as handle:
            storages: dict[str, Storage] = {}
            root = Reader(path, handle, storages).load()
        raw = {}
        for key, storage in storages.items():
            raw[key] = _numbers(storage, archive.read(members[f"data/{key}"]))
    return root, lambda view: _cut(view, raw)


def _open_stream(path: Path, handle: BinaryIO) -> tuple[Any, Callable[[View], Tensor]]:
    """torch < 1.6: five pickles (magic, protocol, machine, object, keys), then the storages."""
    storages: dict[str, Storage] = {}
    if Reader(path, handle).load() != MAGIC or Reader(path, handle).load() != PROTOCOL:
        raise ValueError("the file does not begin as torch.save does")
    if not Reader(path, handle).load()["little_endian"]:
        raise UserError(f"{path}: written on a big-endian machine, which is not supported")
    root = Reader(path, handle, storages).load()
    raw, left = {}, path.stat().st_size
    for key in Reader(path, handle).load():
        storage, count = storages[key], int.from_bytes(handle.read(8), "little")
        left -= storage.count * storage.dtype.itemsize
        if count != storage.count or left < 0:
            raise ValueError(f"storage {key} has {count} elements")
        raw[key] = _numbers(storage, handle.read(count * storage.dtype.itemsize))
    return root, lambda view: _cut(view, raw)


def _numbers(storage: Storage, data: bytes) -> Tensor:
    if len(data) != storage.count * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} has {len(data)} bytes")
    return torch.frombuffer(bytearray(data), dtype=storage.dtype)


def _cut(view: View, raw: dict[str, Tensor]) -> Tensor:
    """The tensor of ``view``; torch checks that it lies within its storage."""
    return raw[view.storage.key].as_strided(view.size, view.stride, view.offset)


def _unwrapped(root: Any) -> Record:
    """The network within one or two DataParallel."""
    for _ in range(2):
        if getattr(root, "name", "") in ("DataParallel", "DistributedDataParallel"):
            root = root.parts("_modules")["module"]
    if not isinstance(root, Record):
        raise ValueError(f"holds a {type(root).__name__}, not a module")
    return root


def _layers(network: Record) -> list[Record]:
    """All layers that have tensors of their own, in their order, each once."""
    layers, seen, waiting = [], set(), [network]
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if len(seen) > MOST:
            raise ValueError(f"more than {MOST} modules")
        if _own(module):
            layers.append(module)
        children = [child for child in module.parts("_modules").values() if child is not None]
        waiting += reversed(children)
    return layers


def _own(module: Record) -> list[View]:
    tensors = {**module.parts("_parameters"), **module.parts("_buffers")}
    tensors.pop("num_batches_tracked", None)
    return [view for view in tensors.values() if isinstance(view, View)]


def _ours(path: Path, network: Record, layers: list[Record], tensors: list[Tensor]) -> nn.Module:
    """Our module of the same layers in the same order, with the weights ``tensors``."""
    kinds = [layer.name for layer in layers]
    parts = network.parts("_modules")
    channels = len(tensors[0]) if tensors else 0
    if network.state.get("residual"):
        raise UserError(f"{path}: a ResNet that predicts the residual, which is not supported")
    if list(parts) == [f"block{number + 1}" for number in range(len(parts))] and len(parts) > 3:
        ups = len(_layers(parts[f"block{len(parts)}"])) // 2
        arch, scale, blocks = "SRResNet", 2**ups, len(parts) - 3
    elif network.name == "ResnetGenerator" and "BatchNorm2d" in kinds:
        # One convolution at each end and two strided ones after and before: the rest are pairs.
        arch, scale, blocks = "pix2pix", 1, (kinds.count("Conv2d") - 4) // 2
    else:
        raise UserError(
            f"{path}: holds a {network.name}; the released networks are ResNet (block1 to block8) "
            "and ResnetGenerator"
        )

    def make() -> nn.Module:
        return build_processor(arch, scale, channels=channels, blocks=blocks)

    with torch.device("meta"):
        described = make()
    names = [name for name in described.state_dict() if not name.endswith("num_batches_tracked")]
    own = [type(layer).__name__ for layer in described.modules() if any(layer._parameters)]
    if own != kinds or len(names) != len(tensors):
        raise UserError(f"{path}: its {network.name} has other layers than the released one")
    state = dict(zip(names, tensors, strict=True))
    return build(path, make, state, f"its {network.name}").eval()
