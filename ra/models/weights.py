"""State dicts: put into a module, or refused in one line that names the file and the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ra.errors import UserError


def fill(path: Path, module: nn.Module, state: Mapping[str, Tensor], source: str) -> nn.Module:
    """Load ``state``, which was read from ``path``, into ``module``; returns the module.

    Args:
        source: where the architecture was named, for the message: "its header", a YAML file.

    Raises:
        UserError: a tensor is missing, left over, of another shape, NaN or infinite.
    """
    wanted = module.state_dict()
    # Batch norm counts its batches since torch 0.4.1; evaluation does not read the counter.
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
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{path}: NaN or infinite weights in {name}; train it again")
    module.load_state_dict(state, strict=False)
    return module
