"""Model files: safetensors with a JSON header. Nothing that a pickle could execute is loaded."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ra import __version__
from ra.data.degradations import TASKS
from ra.errors import UserError, first_line, one_line
from ra.files import atomic
from ra.models.architectures import build_recognizer
from ra.models.processors import PROCESSORS, build_processor
from ra.models.recognizers import Recognizer
from ra.models.restorers import Restorer, is_published
from ra.models.weights import compare, fit

M = TypeVar("M", bound=nn.Module)
KEY = "ra"
FORMAT = 1
# The fields of a header whose types other code relies on.
TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("kind", "version", "task", "dataset", "objective", "recognizer"), str),
    **dict.fromkeys(("format", "seed"), int),
    **dict.fromkeys(("network", "task_settings", "settings"), dict),
    "lambda": (int, float),
    "classes": list,
}


class Header(dict):
    """The header of one model file; a missing field is a UserError that names the file."""

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path}: its header has no {key}; train or import it again")


def save_model(path: Path, module: nn.Module, header: dict[str, Any]) -> None:
    """Write ``module`` and ``header`` (JSON: kind, task, data digest, ...) to ``path``.

    What is needed to build the network again (``module.header``) is stored as ``network``.

    Raises:
        UserError: a weight is NaN or infinite, or the module is a user's program.
    """
    if isinstance(module, Recognizer) and not module.header:
        raise UserError(f"{path}: a program is not copied; name its YAML file instead")
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise UserError(f"{path}: NaN or infinite weights in {bad[0]}: training diverged; lower lr")
    network = {"network": module.header} if hasattr(module, "header") else {}
    text = json.dumps(
        {"format": FORMAT, "version": __version__, **network, **header}, sort_keys=True
    )
    with atomic(path) as temporary:
        # safetensors' own writer ignores the umask: its files are for their owner alone.
        temporary.write_bytes(save(state, metadata={KEY: text}))


def read_header(path: Path, *kinds: str) -> Header:
    """The header of a model file.

    Raises:
        UserError: the file or its header is damaged, or its kind is none of ``kinds``.
    """
    with _opened(path) as stored:
        return _header(path, stored, kinds)


def read_model(path: Path, kinds: tuple[str, ...]) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a model file; errors as in ``read_header``."""
    with _opened(path) as stored:
        header = _header(path, stored, kinds)
        return header, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # not a dict


def _check_plugins(path: Path, header: Mapping[str, Any]) -> None:
    """UserError where the network or its task is a user's class that was not imported."""
    plugins = header.get("settings", {}).get("plugins")
    used = {TASKS: header.get("task"), PROCESSORS: header.get("network", {}).get("arch")}
    for registry, name in used.items() if plugins else ():
        if name is not None and name not in registry and not is_published(name):
            raise UserError(
                f"{path}: {registry.kind} '{name}' is of your own, made with {', '.join(plugins)}; "
                "name that with --plugins"
            )


def load_processor(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """The processor or transformer in ``path``, in evaluation mode.

    Its whole header is ``module.stored``. Errors as in ``read_header`` and ``build``.
    """
    header, state = read_model(path, ("processor", "transformer"))
    network: dict[str, Any] = header["network"]
    module: Any
    if is_published(str(network.get("arch"))):
        module = Restorer(path, state, network.get("scale"))
        fit(path, module, state, "its header")
    else:
        module = build(path, lambda: build_processor(**network), state)
    module.stored = header
    return module.eval().to(device)


def load_recognizer(path: Path, device: str | torch.device = "cpu") -> Recognizer:
    """The recognizer in ``path``; its whole header is ``module.stored``.

    Errors as in ``read_header`` and ``build``.
    """
    header, state = read_model(path, ("recognizer",))
    network = header.get("network") or header
    index = state.get("class_index", torch.tensor([]))
    if index.ndim != 1 or (len(index) and index.dtype != torch.int64):
        raise UserError(f"{path}: class_index is not a list of logits; train or import it again")

    def make() -> Recognizer:
        size = {"input_size": network["input_size"]}
        return build_recognizer(network["arch"], network["logits"], **size).select(index.tolist())

    recognizer = build(path, make, state)
    recognizer.stored, recognizer.trained = header, True
    return recognizer.to(device)


def build(
    path: Path, make: Callable[[], M], state: Mapping[str, Tensor], source: str = "its header"
) -> M:
    """What ``make`` builds, with the weights ``state`` that were read from ``path``.

    The network is first built without memory, so that a few bytes that describe a huge one cost
    nothing.

    Args:
        source: what describes the network, for the message: "its header", a YAML file.

    Raises:
        UserError: the description is wrong; a tensor is missing, left over, of another shape,
            NaN or infinite.
    """
    with _one_line(path, source):
        described = _without_memory(make, 4 * len(state) + 100)
    if described is not None:
        compare(path, described, state, source)
    with _one_line(path, source):
        module = make()
    fit(path, module, state, source)
    return module


def _without_memory(make: Callable[[], M], limit: int) -> M | None:
    """The network on the meta device; None where its class cannot be built there.

    Raises:
        UserError: it has more than ``limit`` tensors.
    """
    count = 0

    def stop(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise UserError("a network of many more tensors than the file holds")

    hook = register_module_parameter_registration_hook(stop)
    try:
        with torch.device("meta"):
            return make()
    except RuntimeError as error:  # so is NotImplementedError
        if "meta" in str(error):
            return None
        raise
    finally:
        hook.remove()


@contextmanager
def _one_line(path: Path, source: str) -> Iterator[None]:
    """One line that names ``path`` for whatever odd values in ``source`` lead to."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {source}: {error}") from None
    except Exception as error:
        if one_line(error):  # out of memory
            raise
        reason = first_line(error)
        raise UserError(f"{path}: {source} does not describe a network ({reason})") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The safetensors file ``path``, closed afterwards; one line for whatever is wrong with it."""
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file") from None
    except (SafetensorError, OSError, ValueError) as error:
        # Files of torch.save are a zip or a pickle.
        foreign = path.is_file() and path.open("rb").read(2) in (b"PK", b"\x80\x02")
        hint = "; it looks like a file of torch.save: try ra import-checkpoint" if foreign else ""
        raise UserError(f"{path}: damaged, or not a safetensors file ({error}){hint}") from None


def _header(path: Path, stored: Any, kinds: tuple[str, ...]) -> Header:
    try:
        header = Header(path, json.loads((stored.metadata() or {})[KEY]))
    except (KeyError, TypeError, ValueError, RecursionError):
        header = Header(path, {})
    if "kind" not in header:
        raise UserError(f"{path}: safetensors without the header of ra; not made by ra")
    for key, kind in TYPES.items():
        if key in header and not isinstance(header[key], kind):
            raise UserError(f"{path}: its header: {key} is a {type(header[key]).__name__}; damaged")
    if header.get("format", FORMAT) > FORMAT:
        maker = header.get("version", f"of format {header['format']}")
        raise UserError(f"{path}: made by ra {maker}, which is newer; update ra")
    if kinds and header["kind"] not in kinds:
        raise UserError(f"{path}: is a {header['kind']}, not a {' or '.join(kinds)}")
    if header["kind"] in ("processor", "transformer"):
        _check_plugins(path, header)
    return header
