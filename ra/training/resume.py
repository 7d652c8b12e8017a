"""The state of a training that is not finished: saved now and then, and found again."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ra.errors import UserError
from ra.files import atomic
from ra.settings.shared import Schedule, TrainingRuntime


def settings_of(schedule: Schedule, runtime: TrainingRuntime, **more: object) -> dict[str, Any]:
    """What defines a training's numbers: compared on resume, written into the checkpoint."""
    fixed = {"seed": runtime.seed, "precision": runtime.precision}
    return {**schedule.model_dump(), **fixed, **more}


def save_state(
    state: Path,
    networks: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    step: int,
    history: list[dict[str, float]],
    partial: dict[str, Any],
) -> None:
    """Write everything that ``restore_state`` needs.

    Args:
        partial: the sums of the epoch that is not finished.
    """
    content = {
        "settings": json.dumps(settings, sort_keys=True, default=str),
        "step": step,
        "history": history,
        "partial": partial,
        "modules": {name: module.state_dict() for name, module in networks.items()},
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    with atomic(state) as temporary, open(temporary, "wb") as handle:
        try:
            torch.save(content, handle)
        except RuntimeError as error:
            # torch hides the file's error (a full disk) behind one of its own.
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def restore_state(
    state: Path,
    networks: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
) -> tuple[int, list[dict[str, float]], dict[str, Any] | None, torch.Tensor | None]:
    """(step, history, partial sums, random state) of the saved state, or of a new training.

    The state of a training with other settings is set aside, and a new training begins.

    Raises:
        UserError: the file is damaged.
    """
    if not state.exists():
        return 0, [], None, None
    try:
        content = torch.load(state, map_location="cpu", weights_only=True)
        changed = _changed(json.loads(content["settings"]), settings)
        if not changed:
            for name, module in networks.items():
                module.load_state_dict(content["modules"][name])
            optimizer.load_state_dict(content["optimizer"])
        step, rng = int(content["step"]), content["rng"].clone()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes torch raise
        raise UserError(
            f"{state}: unreadable resume state ({type(error).__name__}); delete it to begin anew"
        ) from None
    if changed:
        _set_aside(state, changed)
        return 0, [], None, None
    print(f"resuming from step {step} ({state})", file=sys.stderr)
    return step, content["history"], content["partial"], rng


def _set_aside(state: Path, changed: str) -> None:
    """Rename the state of a training with other settings; the first process of a team does it."""
    old = state.with_suffix(".old.pt")
    with suppress(FileNotFoundError):
        state.replace(old)
        said = f"settings changed ({changed}); starting anew, earlier state in {old}"
        print(said, file=sys.stderr)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The settings that differ: "lr: 0.1 -> 0.2; …"; empty where none does."""
    now = json.loads(json.dumps(now, sort_keys=True, default=str))
    return "; ".join(
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    )
