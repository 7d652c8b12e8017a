"""A file of torch.save read as inert records: nothing of it is imported, called or executed.

The reader knows the short list of globals that a state dict, the checkpoint of a training script or
a network of the released script needs, and refuses a file with any other by name. A small file
cannot take much memory or time: a compressed or overlapping record, a memo or key of hostile size
is refused. (torch.load with ``weights_only`` unpacks the first, and a key that is a deep tuple ends
Python.)
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ra.errors import UserError, first_line

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"Char": torch.int8, "Byte": torch.uint8} | {
    name: getattr(torch, name.lower())
    for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Bool")
}
# Modules of the released script; their classes become records of the same name.
SCRIPT = ("model_sr", "networks")
MOST = 1000  # modules of a network, and parts of a module; the released ones have about 100


class Record:
    """Stands for an object of some class: the name of the class, and its pickled attributes."""

    name = ""

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def parts(self, key: str) -> dict[str, Any]:
        """The dictionary ``key`` of modules or tensors; ValueError where it is too long."""
        if len(self.state[key]) > MOST:
            raise ValueError(f"{key} of {len(self.state[key])} parts")
        return self.state[key]


@dataclass
class Storage:
    """Raw numbers of the file: ``key`` tells where, ``count`` how many of ``dtype``."""

    dtype: torch.dtype
    key: str
    count: int
    numbers: Tensor | None = None

    def fill(self, data: bytes) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"storage {self.key} has {len(data)} bytes")
        empty = torch.empty(0, dtype=self.dtype)
        self.numbers = torch.frombuffer(bytearray(data), dtype=self.dtype) if data else empty


@dataclass(frozen=True)
class View:
    """A tensor whose numbers may not be read yet: place and shape, in elements of ``storage``."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """torch checks that it lies within its storage."""
        return self.storage.numbers.as_strided(self.size, self.stride, self.offset)


@contextmanager
def one_line_for(path: Path) -> Iterator[None]:
    """A UserError for whatever a damaged or foreign file ``path`` raises."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    # A damaged pickle raises whatever its bytes happen to mean.
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{path}: damaged, or not a checkpoint of torch.save ({reason})") from None


def open_pickled(path: Path) -> Any:
    """The object in a file of torch.save; its tensors are a ``View`` each.

    Whatever is wrong with the file raises something: call it within ``one_line_for``.
    """
    with open(path, "rb") as handle:
        return (_open_zip if zipfile.is_zipfile(path) else _open_stream)(path, handle)


def _open_zip(path: Path, file: BinaryIO) -> Any:
    """torch >= 1.6: NAME/data.pkl, and one NAME/data/KEY for every storage."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        # torch stores without compression, each record in bytes of its own.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("compressed records")
        if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
            raise ValueError("records that overlap")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise ValueError("written on a big-endian machine")
        with archive.open(members["data.pkl"]) as handle:
            reader = Reader(path, handle)
            root = reader.load()
        for key, storage in reader.storages.items():
            storage.fill(archive.read(members[f"data/{key}"]))
    return root


def _open_stream(path: Path, file: BinaryIO) -> Any:
    """torch < 1.6: five pickles (magic, protocol, machine, object, keys), then the storages."""
    magic, protocol, machine = (Reader(path, file).load() for _ in range(3))
    if (magic, protocol, machine["little_endian"]) != (MAGIC, PROTOCOL, True):
        raise ValueError("the file does not begin as torch.save does on a little-endian machine")
    reader = Reader(path, file)
    root, left = reader.load(), path.stat().st_size
    for key in Reader(path, file).load():
        storage, count = reader.storages[key], int.from_bytes(file.read(8), "little")
        left -= storage.count * storage.dtype.itemsize
        if count != storage.count or left < 0:
            raise ValueError(f"storage {key} has {count} elements")
        storage.fill(file.read(count * storage.dtype.itemsize))
    return root


Unpickler: Any = pickle._Unpickler  # what it is made of has no types


class Reader(Unpickler):
    """Reads one pickle; every global is a stand-in of this module, or refused by its name.

    It is pickle's own unpickler in Python: that in C reserves memory for any number that a file
    calls the index of its memo. Tuples become lists, because Python cannot hash a deep one.
    """

    dispatch = Unpickler.dispatch | {
        pickle.EMPTY_TUPLE[0]: Unpickler.load_empty_list,
        pickle.TUPLE[0]: Unpickler.load_list,
        pickle.TUPLE1[0]: lambda self: self.to_list(1),
        pickle.TUPLE2[0]: lambda self: self.to_list(2),
        pickle.TUPLE3[0]: lambda self: self.to_list(3),
        pickle.BUILD[0]: lambda self: self.set_state(),
    }

    def __init__(self, path: Path, handle: Any) -> None:
        super().__init__(handle, encoding="utf-8")
        self.path, self.storages = path, dict[str, Storage]()

    def to_list(self, count: int) -> None:
        self.stack[-count:] = [self.stack[-count:]]

    def set_state(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Record):
            self.stack[-1].state = state

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
            return type(name, (Record,), {"name": name[:100]})
        raise UserError(
            f"{self.path}: refused: its pickle uses {ascii(f'{module}.{name}')[1:-1][:120]}, and "
            "only tensors and layers of the released networks are read; nothing was executed"
        )

    def persistent_load(self, saved: Any) -> Any:
        kind, *rest = saved
        if kind == "module":  # with the source text of its class, in torch < 1.6
            return rest[0]
        kind_of_storage, key, _device, count, *view = rest
        if kind != "storage" or view not in ([], [None]) or not isinstance(key, str):
            raise pickle.UnpicklingError("a persistent id of another kind")
        dtype = DTYPES[kind_of_storage.removesuffix("Storage")]
        return self.storages.setdefault(key, Storage(dtype, key, int(count)))


def _view(storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> View:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    if len(size) > 64 or not all(isinstance(number, int) for number in (*size, *stride)):
        raise pickle.UnpicklingError("a tensor without a size")
    return View(storage, int(offset), tuple(size), tuple(stride))


def _first(tensor: Any, *_: Any) -> Any:
    """A Parameter is its tensor; a flag and hooks follow."""
    return tensor


def _new(cls: type, *_: Any) -> Record:
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise pickle.UnpicklingError("an object of no known class")
    return cls()


# What stands beside the weights: a device, a set of names, the arguments of a script.
BESIDE = """
    builtins.set collections.Counter torch.device pathlib.PosixPath pathlib.WindowsPath
    torch.nn.backends.thnn._get_thnn_function_backend numpy.core.multiarray.scalar
    numpy._core.multiarray.scalar numpy.dtype _codecs.encode
""".split()
STAND_INS: dict[str, Any] = {
    **dict.fromkeys([*BESIDE, *map(str, DTYPES.values())], lambda *_: None),
    "collections.OrderedDict": OrderedDict,
    "copyreg._reconstructor": _new,
    "builtins.object": Record,
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": list,
    "argparse.Namespace": Record,
    "types.SimpleNamespace": Record,
}
