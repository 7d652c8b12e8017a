"""Files of torch.save whose pickle names nothing but tensors and layers: none of it is executed.

torch reads the file, with the unpickler of this module. That knows the short list of globals that a
state dict, the checkpoint of a training script or a network of the released script needs, and
refuses a file with any other by name. (``weights_only`` of torch.load refuses whole modules of
torch < 1.6, which the released files are.)
"""

import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ra.errors import UserError, first_line

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


class Refused(Exception):
    """The pickle names something that is not on the list."""


@contextmanager
def one_line_for(path: Path) -> Iterator[None]:
    """A UserError for whatever a damaged or foreign file ``path`` raises."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Refused as error:
        raise UserError(
            f"{path}: refused: its pickle uses {error}, and only tensors and layers of the "
            "released networks are read; nothing was executed"
        ) from None
    # A damaged pickle raises whatever its bytes happen to mean.
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{path}: damaged, or not a checkpoint of torch.save ({reason})") from None


def open_pickled(path: Path) -> Any:
    """The object in a file of torch.save; modules in it are a ``Record`` each.

    Whatever is wrong with the file raises something: call it within ``one_line_for``.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
        # torch stores without compression, each record in bytes of its own.
        if any(one.compress_type != zipfile.ZIP_STORED for one in records):
            raise ValueError("compressed records")
        if sum(one.file_size for one in records) > path.stat().st_size:
            raise ValueError("records that overlap")
        if any(one.filename.endswith("constants.pkl") for one in records):
            raise ValueError("a TorchScript program")
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the source of a Record is not that of the module
        this = sys.modules[__name__]
        return torch.load(file, "cpu", pickle_module=this, weights_only=False, mmap=False)


def load(file: Any, **options: Any) -> Any:
    """What torch.load calls for the header of a file of torch < 1.6."""
    return Unpickler(file, **options).load()


Base: Any = pickle._Unpickler  # what it is made of has no types


class Unpickler(Base):
    """Every global is a stand-in of this module, or refused by its name.

    It is pickle's own unpickler in Python: that in C reserves memory for any number that a file
    calls the index of its memo. Python cannot hash a deep tuple, so keys are names and numbers.
    """

    dispatch = Base.dispatch | {
        pickle.BUILD[0]: lambda self: self.set_state(),
        pickle.SETITEM[0]: lambda self: self.with_names(self.stack[-2:-1], self.load_setitem),
        pickle.SETITEMS[0]: lambda self: self.with_names(self.stack[::2], self.load_setitems),
        pickle.ADDITEMS[0]: lambda self: self.with_names(self.stack, self.load_additems),
        pickle.FROZENSET[0]: lambda self: self.with_names(self.stack, self.load_frozenset),
    }

    def with_names(self, keys: list[Any], load_items: Callable[[], None]) -> None:
        if not all(isinstance(key, str | int) for key in keys):
            raise ValueError("a key that is neither a name nor a number")
        load_items()

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
        part_of_torch = module.startswith(("torch.nn.modules.", "torch.nn.parallel."))
        if (part_of_torch or module in SCRIPT) and name.isidentifier():
            return type(name, (Record,), {"name": name[:100]})
        raise Refused(ascii(f"{module}.{name}")[1:-1][:120])


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


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
    torch.float32 torch.float64 torch.float16 torch.bfloat16 torch.int64 torch.int32
""".split()
STAND_INS: dict[str, Any] = {
    **dict.fromkeys(BESIDE, lambda *_: None),
    "collections.OrderedDict": OrderedDict,
    "copyreg._reconstructor": _new,
    "builtins.object": Record,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": tuple,
    "argparse.Namespace": Record,
    "types.SimpleNamespace": Record,
}
