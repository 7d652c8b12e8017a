"""Models on disk: safetensors with a JSON header; nothing a pickle could execute is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ra import __version__
from ra.errors import UserError
from ra.files import atomic
from ra.models.processors import build_processor
from ra.models.recognizers import Recognizer, build_recognizer
from ra.models.weights import fill

KEY = "ra"
FORMAT = 1


def save_model(path: Path, module: nn.Module, header: dict[str, Any]) -> None:
    """Write ``module`` and ``header`` (JSON: kind, task, data digest, ...) to ``path``.

    What builds the network again (``module.header``) goes into the header as ``network``.
    """
    if isinstance(module, Recognizer) and not module.header:
        raise UserError(f"{path}: an R that is a program is not copied; name its YAML file instead")
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise UserError(f"{path}: NaN or infinite weights in {bad[0]}: training diverged; lower lr")
    network = {"network": module.header} if hasattr(module, "header") else {}
    text = json.dumps(
        {"format": FORMAT, "version": __version__, **network, **header}, sort_keys=True
    )
    try:
        with atomic(path) as temporary:
            save_file(state, temporary, metadata={KEY: text})
    except SafetensorError as error:
        raise UserError(f"{path}: cannot be written ({error})") from None


def read_header(path: Path, *kinds: str) -> dict[str, Any]:
    """The header of a model file; UserError where there is none, or of none of these ``kinds``."""
    with _opened(path) as stored:
        return _header(path, stored, kinds)


def load_processor(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """P or T from ``path``, in evaluation mode; its whole header is ``module.stored``."""
    header, state = read_model(path, ("processor", "transformer"))
    with _complete_header(path):
        module = build_processor(**header["network"])
    module.stored = header
    return fill(path, module, state, "its header").eval().to(device)


def load_recognizer(path: Path, device: str | torch.device = "cpu") -> Recognizer:
    """R from ``path``; its whole header is ``module.stored``."""
    header, state = read_model(path, ("recognizer",))
    with _complete_header(path):
        network = header.get("network") or header
        recognizer = build_recognizer(
            network["arch"], network["logits"], input_size=network["input_size"]
        )
        index = state["class_index"]
    recognizer.stored = header
    recognizer.select(index.tolist())
    return fill(path, recognizer, state, "its header").to(device)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The safetensors file ``path``, closed afterwards; one line for whatever is wrong with it."""
    try:
        with safe_open(path, framework="pt") as stored:
            yield stored
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: damaged, or not a safetensors file ({error}){_hint(path)}"
        ) from None


def _hint(path: Path) -> str:
    """What to do with a file of torch.save, by its first bytes: a zip or a pickle."""
    try:
        with open(path, "rb") as handle:
            foreign = handle.read(2) in (b"PK", b"\x80\x02")
    except OSError:
        foreign = False
    return "; it looks like a file of torch.save: try ra import-checkpoint" if foreign else ""


def _header(path: Path, stored: Any, kinds: tuple[str, ...]) -> dict[str, Any]:
    try:
        header = json.loads((stored.metadata() or {})[KEY])
        header["kind"]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: safetensors without the header of ra; not made by ra") from None
    if header.get("format", FORMAT) > FORMAT:
        raise UserError(f"{path}: made by ra {header['version']}, which is newer; update ra")
    if kinds and header["kind"] not in kinds:
        raise UserError(f"{path}: is a {header['kind']}, not a {' or '.join(kinds)}")
    return header


def read_model(
    path: Path, kinds: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Header and tensors of a model file whose kind is one of ``kinds``."""
    with _opened(path) as stored:
        header = _header(path, stored, kinds)
        return header, {name: stored.get_tensor(name) for name in stored.keys()}


@contextmanager
def _complete_header(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its header does not tell the network ({error})") from None
    except UserError as error:
        raise UserError(f"{path}: its header: {error}") from None
