"""A pickle read as inert records: no class of the file is imported, no function of it is called.

The reader knows the short list of globals that a network of the released script needs, and refuses
a file with any other by name. A small file cannot take much memory or time.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ra.errors import UserError

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


class Reader(pickle._Unpickler):
    """Reads one pickle; every global is a stand-in of this module, or refused by its name.

    It is pickle's own unpickler in Python: that in C reserves memory for any number that a file
    calls the index of its memo. Tuples become lists, for a key that is a deep tuple ends Python.
    """

    dispatch = pickle._Unpickler.dispatch | {
        pickle.EMPTY_TUPLE[0]: pickle._Unpickler.load_empty_list,
        pickle.TUPLE[0]: pickle._Unpickler.load_list,
        pickle.TUPLE1[0]: lambda self: self.to_list(1),
        pickle.TUPLE2[0]: lambda self: self.to_list(2),
        pickle.TUPLE3[0]: lambda self: self.to_list(3),
        pickle.BUILD[0]: lambda self: self.set_state(),
    }

    def __init__(self, path: Path, handle: Any, storages: dict[str, Storage] | None = None) -> None:
        super().__init__(handle, encoding="utf-8")
        self.path, self.storages = path, {} if storages is None else storages

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
            f"{self.path}: refused: its pickle uses {ascii(f'{module}.{name}')[1:-1][:120]}, which "
            "no released checkpoint needs; nothing was executed"
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
    if len(size) > 8 or not all(0 < side <= storage.count for side in size):
        raise pickle.UnpicklingError("a tensor without numbers, or larger than its storage")
    return View(storage, int(offset), tuple(size), tuple(stride))


def _first(tensor: Any, *_: Any) -> Any:
    """A Parameter is its tensor; a flag and hooks follow."""
    return tensor


def _nothing(*_: Any) -> None:
    """A device, a backend, a set of names: not needed for what the network computes."""


def _new(cls: type, *_: Any) -> Record:
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise pickle.UnpicklingError("an object of no known class")
    return cls()


STAND_INS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": _nothing,
    "copyreg._reconstructor": _new,
    "builtins.object": Record,
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": list,
    "torch.device": _nothing,
    "torch.nn.backends.thnn._get_thnn_function_backend": _nothing,
}
