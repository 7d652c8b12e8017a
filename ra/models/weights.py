"""The tensors in a weight file of any origin, and how they get into a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from ra.errors import UserError
from ra.models.inert_pickle import one_line_for, open_pickled

# Where training scripts keep the weights, the best first, and what wrappers put before their names.
STATES = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
WRAPPERS = ("module.", "netG.")


def read_weights(
    file: Path, states: tuple[str, ...] = STATES, wrappers: tuple[str, ...] = WRAPPERS
) -> dict[str, Tensor]:
    """The tensors of the network in ``file``, by their names without those of wrappers.

    Args:
        states: keys under which a checkpoint has the network's tensors.

    Raises:
        UserError: no such file, damaged, or not of tensors; nothing in it is executed.
    """
    with one_line_for(file):
        state: Any = load_file(file) if file.suffix == ".safetensors" else open_pickled(file)
        for _ in states:  # a checkpoint within a checkpoint; one that holds itself has no end
            within = [state[key] for key in states if isinstance(state, dict) and key in state]
            state = next((part for part in within if isinstance(part, dict) and part), state)
        values = state.values() if isinstance(state, dict) else [None]
        if not all(isinstance(value, Tensor) for value in values):
            places = ", ".join(states)
            raise UserError(f"{file}: not a state dict of tensors, nor one under {places}")
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        name = str(name)
        while prefix := next((part for part in wrappers if name.startswith(part)), None):
            name = name.removeprefix(prefix)
        if name in found:
            raise UserError(f"{file}: holds {name} twice; save the state dict of one network")
        found[name] = value
    return found


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
