"""The tensors in a weight file of any origin, and how they get into a network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ra.errors import UserError
from ra.models.inert_pickle import one_line_for

# Where training scripts keep the weights, the best first, and what wrappers put before their names.
STATES = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
WRAPPERS = ("module.", "netG.", "network.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of one network in ``path``, by their names without what wrappers add.

    Raises:
        UserError: no such file, damaged, or a pickle of more than tensors.
    """
    with one_line_for(path):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                raise UserError(
                    f"{path}: damaged, or a pickle of more than tensors, which is not executed; "
                    "save the state dict alone"
                ) from None
        within = [state[key] for key in STATES if isinstance(state.get(key), dict)]
        state = within[0] if within else state
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise UserError(f"{path}: not a state dict of tensors, nor one under {STATES[0]}")
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def fit(path: Path, module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load ``state``, read from ``path``, into ``module``, which ``source`` describes.

    Raises:
        UserError: tensors are missing, left over, of another shape, NaN or infinite; they are
            counted and the first is named.
    """
    compare(path, module, state, source)
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{path}: NaN or infinite weights in {name}; train it again")
    module.load_state_dict(state, strict=False)


def compare(path: Path, module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """UserError where the names or shapes in ``state`` are not those of ``module``."""
    wanted = module.state_dict()
    # Batch norm has counted its batches since torch 0.4.1; evaluation does not use the counter.
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    faults = [f"{name} is missing" for name in needed if name not in state]
    faults += [f"{name} is not part of it" for name in state if name not in wanted]
    faults += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(
            f"{path}: its weights do not fit the architecture in {source}: {faults[0]}{more}"
        )
