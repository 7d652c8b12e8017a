"""The authors' released checkpoints: whole pickled modules, read without executing anything.

A file is what ``torch.save(DataParallel(ResNet(...)))`` of torch 0.4 to today writes, as a zip or
as the older stream of pickles. The unpickler here knows a short list of globals and gives inert
records for all of them: no class of the file is imported, no function of it is called. Tensors
are cut out of the raw bytes afterwards.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ra.errors import UserError
from ra.models.processors import build_processor
from ra.models.weights import fill

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
# Modules of the released script; their classes become records of the same name.
SCRIPT = ("model_sr", "networks")


class Record:
    """Stands for an object of some class: its name and what its pickle said of its attributes."""

    name = ""

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state


@dataclass(frozen=True)
class Storage:
    """Raw numbers of the file: ``key`` tells where, ``count`` how many of ``dtype``."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor before its numbers are read: ``offset``, ``size``, ``stride`` in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def import_checkpoint(path: Path) -> nn.Module:
    """P (SRResNet) or T (the pix2pix generator) from one of the authors' files.

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
        tensors = {name: read(view) for name, view in _tensors(network)}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    # A damaged pickle raises whatever its bytes happen to say.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:120]
        raise UserError(f"{path}: damaged, or not a checkpoint of torch.save ({reason})") from None
    return _ours(path, network, tensors)


def _open(path: Path) -> tuple[Any, Callable[[View], Tensor]]:
    """The pickled object, and a reader of its tensors."""
    if zipfile.is_zipfile(path):
        return _open_zip(path)
    with open(path, "rb") as handle:
        return _open_stream(path, handle)


def _open_zip(path: Path) -> tuple[Any, Callable[[View], Tensor]]:
    """torch >= 1.6: NAME/data.pkl, and one NAME/data/KEY for every storage."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise UserError(f"{path}: written on a big-endian machine, which is not supported")
        with archive.open(members["data.pkl"]) as handle:
            storages: dict[str, Storage] = {}
            root = Reader(path, handle, storages).load()
        raw = {}
        for key, storage in storages.items():
            info = members[f"data/{key}"]
            # torch stores without compression; a file that unpacks to more than it is, is not its.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != _size(storage):
                raise ValueError(f"storage {key} has {info.file_size} bytes")
            raw[key] = archive.read(info)
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
        count = int.from_bytes(handle.read(8), "little")
        if count != storages[key].count or _size(storages[key]) > left:
            raise ValueError(f"storage {key} has {count} elements")
        raw[key] = handle.read(_size(storages[key]))
    return root, lambda view: _cut(view, raw)


def _size(storage: Storage) -> int:
    return storage.count * storage.dtype.itemsize


def _cut(view: View, raw: dict[str, bytes]) -> Tensor:
    """The tensor of ``view``; torch checks that it lies within its storage."""
    if math.prod(view.size) > view.storage.count:
        raise ValueError("a tensor larger than its storage")
    numbers = torch.frombuffer(bytearray(raw[view.storage.key]), dtype=view.storage.dtype)
    return numbers.as_strided(view.size, view.stride, view.offset).clone()


class Reader(pickle.Unpickler):
    """Reads one pickle; every global is a stand-in of this module, or refused by its name."""

    def __init__(self, path: Path, handle: Any, storages: dict[str, Storage] | None = None) -> None:
        super().__init__(handle, encoding="utf-8")
        self.path, self.storages = path, {} if storages is None else storages

    def find_class(self, module: str, name: str) -> Any:
        # Pickles of protocol 2, which torch writes, spell these as Python 2 did.
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        known = STAND_INS.get(f"{module}.{name}")
        if known is not None:
            return known
        if module in ("torch", "torch.cuda") and name.removesuffix("Storage") in DTYPES:
            return name
        part_of_torch = module.startswith(("torch.nn.modules.", "torch.nn.parallel."))
        if (part_of_torch or module in SCRIPT) and name.isidentifier():
            return type(name, (Record,), {"name": name})
        raise UserError(
            f"{self.path}: refused: its pickle asks for {module}.{name}, which no released "
            "checkpoint needs; nothing was executed"
        )

    def persistent_load(self, saved: Any) -> Any:
        kind, *rest = saved
        if kind == "module":  # with the source text of its class, in torch < 1.6
            return rest[0]
        kind_of_storage, key, _device, count, *view = rest
        if kind != "storage" or view not in ([], [None]):
            raise pickle.UnpicklingError(f"persistent id {kind}")
        dtype = DTYPES[kind_of_storage.removesuffix("Storage")]
        return self.storages.setdefault(str(key), Storage(dtype, str(key), int(count)))


def _view(storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> View:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    return View(storage, int(offset), tuple(size), tuple(stride))


def _first(tensor: Any, *_: Any) -> Any:
    """A Parameter is its tensor; a flag and hooks follow."""
    return tensor


def _nothing(*_: Any) -> None:
    """A device, a backend: no part of what P computes."""


def _new(cls: type, *_: Any) -> Record:
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise pickle.UnpicklingError("an object of no known class")
    return cls()


STAND_INS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "copyreg._reconstructor": _new,
    "builtins.object": Record,
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": tuple,
    "torch.device": _nothing,
    "torch.nn.backends.thnn._get_thnn_function_backend": _nothing,
}


def _unwrapped(root: Any) -> Record:
    """The network within one or more DataParallel."""
    while getattr(root, "name", "") in ("DataParallel", "DistributedDataParallel"):
        root = root.state["_modules"]["module"]
    if not isinstance(root, Record):
        raise ValueError(f"holds a {type(root).__name__}, not a module")
    return root


def _leaves(module: Record, prefix: str = "") -> Iterator[tuple[str, Record]]:
    """(name, layer) of all layers that have tensors of their own, in their order."""
    if any(_own(module)):
        yield prefix.rstrip("."), module
    for name, child in module.state["_modules"].items():
        if child is not None:
            yield from _leaves(child, f"{prefix}{name}.")


def _own(module: Record) -> Iterator[tuple[str, View]]:
    for name, view in {**module.state["_parameters"], **module.state["_buffers"]}.items():
        if isinstance(view, View) and name != "num_batches_tracked":
            yield name, view


def _tensors(network: Record) -> Iterator[tuple[str, View]]:
    for prefix, layer in _leaves(network):
        for name, view in _own(layer):
            yield f"{prefix}.{name}", view


def _ours(path: Path, network: Record, tensors: dict[str, Tensor]) -> nn.Module:
    """Our module of the same layers in the same order, with the weights of ``tensors``."""
    layers = [layer.name for _, layer in _leaves(network)]
    parts = list(network.state["_modules"])
    channels = next((len(value) for value in tensors.values()), 0)
    if network.state.get("residual"):
        raise UserError(f"{path}: a ResNet that predicts the residual, which is not supported")
    if parts == [f"block{number + 1}" for number in range(len(parts))] and len(parts) > 3:
        ups = sum(name.startswith(f"{parts[-1]}.") for name, _ in _leaves(network)) // 2
        module = build_processor("SRResNet", 2**ups, channels=channels, blocks=len(parts) - 3)
    elif network.name == "ResnetGenerator" and "BatchNorm2d" in layers:
        # One convolution at each end and two strided ones after and before: the rest are pairs.
        blocks = (layers.count("Conv2d") - 4) // 2
        module = build_processor("pix2pix", 1, channels=channels, blocks=blocks)
    else:
        raise UserError(
            f"{path}: holds a {network.name}; the released networks are ResNet (block1 to block8) "
            "and ResnetGenerator"
        )
    names = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    own = [type(layer).__name__ for layer in module.modules() if any(layer._parameters)]
    if own != layers or len(names) != len(tensors):
        raise UserError(f"{path}: its {network.name} has other layers than the released one")
    state = dict(zip(names, tensors.values(), strict=True))
    return fill(path, module, state, f"its {network.name}").eval()
