"""The state of an unfinished training: saved now and then, and found again."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ra.errors import UserError
from ra.files import atomic


class StateFile:
    """The file that holds the state of a training.

    Args:
        networks, optimizers: what is saved and restored.
        settings: everything that defines the result.
    """

    def __init__(
        self,
        path: Path,
        networks: dict[str, nn.Module],
        optimizers: list[torch.optim.Optimizer],
        settings: dict[str, Any],
    ) -> None:
        self.path, self.networks, self.optimizers = path, networks, optimizers
        self.settings = json.dumps(settings, sort_keys=True, default=str)

    def save(self, step: int, history: list[dict[str, float]], partial: dict[str, Any]) -> None:
        """Write everything that ``restore`` needs; ``partial``: sums of the unfinished epoch."""
        content = {
            "settings": self.settings,
            "step": step,
            "history": history,
            "partial": partial,
            "modules": {name: module.state_dict() for name, module in self.networks.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "rng": torch.get_rng_state(),
        }
        with atomic(self.path) as temporary, open(temporary, "wb") as handle:
            try:
                torch.save(content, handle)
            except RuntimeError as error:
                # torch hides the file's error (a full disk) behind one of its own.
                hidden = error.__context__
                raise (hidden if isinstance(hidden, OSError) else error) from None

    def restore(self) -> tuple[int, list[dict[str, float]], dict[str, Any], torch.Tensor | None]:
        """(step, history, sums of the unfinished epoch, torch's random state); empty at the start.

        The state of a training with other settings is set aside, and a new training begins.

        Raises:
            UserError: the file is damaged.
        """
        begin = 0, [], {}, None
        if not self.path.exists():
            return begin
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            changed = _changed(json.loads(content["settings"]), json.loads(self.settings))
            if not changed:
                for name, module in self.networks.items():
                    module.load_state_dict(content["modules"][name])
                for optimizer, saved in zip(self.optimizers, content["optimizers"], strict=True):
                    optimizer.load_state_dict(saved)
            found = [content[key] for key in ("step", "history", "partial", "rng")]
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever a damaged file makes torch raise
            raise UserError(
                f"{self.path}: unreadable resume state ({type(error).__name__}); delete it to "
                "begin anew"
            ) from None
        if changed:
            old = self.path.with_suffix(".old.pt")
            with suppress(FileNotFoundError):  # another process of the team was first
                self.path.replace(old)
                said = f"settings changed ({changed}); starting anew, earlier state in {old}"
                print(said, file=sys.stderr)
            return begin
        print(f"resuming from step {found[0]} ({self.path})", file=sys.stderr)
        return tuple(found)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The settings that differ: "lr: 0.1 -> 0.2; …"; empty where none does."""
    return "; ".join(
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    )
