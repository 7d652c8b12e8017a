"""Models on disk: safetensors with a JSON header; nothing a pickle could execute is loaded."""

from __future__ import annotations

import json
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

KEY = "ra"


def save_model(path: Path, module: nn.Module, header: dict[str, Any]) -> None:
    """Write ``module`` and ``header`` (JSON: kind, arch, task, data digest, ...) to ``path``."""
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({"version": __version__, **header}, sort_keys=True)
    with atomic(path) as temporary:
        save_file(state, temporary, metadata={KEY: text})


def read_header(path: Path) -> dict[str, Any]:
    """The header of a model file; UserError where there is none."""
    return _open(path)[0]


def load_processor(path: Path) -> nn.Module:
    """P or T from ``path``, on the CPU, ready to be used."""
    header, state = _open(path)
    if header["kind"] not in ("processor", "transformer"):
        raise UserError(f"{path}: is a {header['kind']}, not a processor or transformer")
    return _fill(path, build_processor(**header["network"]), state).eval()


def load_recognizer(path: Path) -> Recognizer:
    """R from ``path``, on the CPU."""
    header, state = _open(path)
    if header["kind"] != "recognizer":
        raise UserError(f"{path}: is a {header['kind']}, not a recognizer")
    recognizer = build_recognizer(header["arch"], header["logits"])
    recognizer.input_size = header["input_size"]
    recognizer.class_index = state["class_index"]
    return _fill(path, recognizer, state)


def _open(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {})[KEY])
            return header, {name: stored.get_tensor(name) for name in stored.keys()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file") from None
    except KeyError:
        raise UserError(f"{path}: safetensors without the header of ra; not made by ra") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not a safetensors file ({error})") from None


def _fill(path: Path, module: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    try:
        module.load_state_dict(state)
    except RuntimeError:
        raise UserError(f"{path}: its weights do not fit the architecture in its header") from None
    broken = [n for n, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise UserError(f"{path}: NaN or infinite weights in {broken[0]}; train it again")
    return module
