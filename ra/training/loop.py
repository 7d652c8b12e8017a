"""One training loop for every objective, and for R: read it from top to bottom.

Everything random is a function of (seed, epoch, index), the learning rate a function of the
step: a run that is killed and resumed gives the numbers of an uninterrupted one.
"""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from ra.data.prefetch import ahead
from ra.data.splits import Crops, TrainingKeys, loader
from ra.errors import UserError
from ra.files import atomic
from ra.progress import Progress
from ra.runtime.devices import autocast, placed
from ra.runtime.distributed import ALONE, Team
from ra.training.objectives import Objective

# Fused: one kernel over all parameters, which on small networks saves several percent of a step.
OPTIMIZERS = {
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "sgd": functools.partial(torch.optim.SGD, fused=True, momentum=0.9),
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast; the defaults are the paper's (method.md, "Schedule").

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step, over all processes.
        optimizer: adam, adamw or sgd (momentum 0.9).
        lr: learning rate at the start.
        lr_schedule: ``step`` multiplies by ``lr_gamma`` at each epoch of ``lr_steps`` (counted
            from 0); ``cosine`` falls to zero over the whole training.
        warmup: steps over which the rate rises linearly from zero.
        weight_decay: as the optimizer defines it.
    """

    epochs: int = 6
    batch_size: int = 20
    optimizer: str = "adam"
    lr: float = 1e-4
    lr_schedule: str = "step"
    lr_steps: tuple[int, ...] = (4, 5)
    lr_gamma: float = 0.1
    warmup: int = 0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"optimizer: '{self.optimizer}' is none of {', '.join(OPTIMIZERS)}")
        if self.lr_schedule not in ("step", "cosine"):
            raise UserError(f"lr_schedule: '{self.lr_schedule}' is neither step nor cosine")
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.lr < math.inf:
            raise UserError("epochs and batch_size must be at least 1 and lr above 0")
        if not 0 < self.lr_gamma <= 1:
            raise UserError(f"lr_gamma: {self.lr_gamma} is not in (0, 1]")
        if self.warmup < 0 or not 0 <= self.weight_decay < math.inf:
            raise UserError("warmup and weight_decay must be 0 or more")

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.lr_schedule == "cosine":
            done = step / (steps_per_epoch * self.epochs)
            return self.lr * factor * (1 + math.cos(math.pi * done)) / 2
        passed = sum(step // steps_per_epoch >= epoch for epoch in self.lr_steps)
        return self.lr * factor * self.lr_gamma**passed


@dataclass(frozen=True)
class Runtime:
    """Where and with what arithmetic; none of it but ``precision`` changes an fp32 CPU result.

    Attributes:
        seed: of initial weights, order, crops and training noise.
        workers: loader processes; 0 loads in the training process.
        precision: fp32 or bf16 (autocast).
        checkpoint_seconds: wall time between saved states; at most this much work is repeated.
        log_steps: steps between logged metrics, each of which waits for the device.
    """

    seed: int = 0
    workers: int = 0
    precision: str = "fp32"
    checkpoint_seconds: float = 60.0
    log_steps: int = 50

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**60:
            raise UserError(f"seed: {self.seed} is not in 0..2^60")
        if self.workers < 0 or not self.checkpoint_seconds >= 0:
            raise UserError("workers and checkpoint_seconds must be 0 or more")


class Diverged(UserError):
    """The loss became NaN or infinite; the last good state is kept."""


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C; the state has been saved. Exit code 128 + signal."""


Log = Callable[[dict[str, float], int], None]


def train(
    objective: Objective,
    crops: Crops,
    schedule: Schedule,
    runtime: Runtime,
    device: torch.device,
    state: Path,
    settings: dict,
    log: Log = lambda metrics, step: None,
    team: Team = ALONE,
) -> list[dict[str, float]]:
    """Train the objective's modules in place.

    Args:
        crops: training images of the task.
        state: file for the resume state; removed by the caller when the models are saved.
        settings: everything that defines the result; a state with others is set aside.
        log: receives (metrics, step) every ``log_steps`` steps and after each epoch.
        team: the processes that share this training; its leader alone saves and shows progress.

    Returns:
        One row per epoch: epoch, mean of every loss, lr, seconds, images_per_s.

    Raises:
        Diverged: NaN or infinite loss, with the step.
        UserError: the saved state is damaged.
        Interrupted: stopped by a signal, state saved.
    """
    for module in objective.modules.values():
        placed(module, device).train()
    optimizer = optimizer_of(objective, schedule)
    networks = objective.modules
    step, history, partial, rng = _restore(state, objective, optimizer, settings, device)
    objective.modules = team.wrap(networks)
    keys = TrainingKeys(
        len(crops), schedule.batch_size, schedule.epochs, runtime.seed, step, team.rank, team.world
    )
    team.check(len(crops), schedule.batch_size)
    per_epoch = keys.steps_per_epoch
    objective.begin(crops, schedule.epochs, device, runtime.precision)
    meter = Meter(partial, team)
    saved = time.monotonic()
    stop = StopSignal()
    bar = Progress(
        total=per_epoch * schedule.epochs,
        initial=step,
        name=settings.get("name", "train"),
        images=schedule.batch_size,
        epochs=schedule.epochs,
        shown=team.leader,
        unit="step",
    )
    batches = ahead(loader(crops, keys, runtime.workers, device))
    with stop, bar, closing(batches):
        for batch in batches:
            if rng is not None:  # only now: to begin, the loader took a number of its own
                torch.set_rng_state(rng)
                rng = None
            batch = batch.to(device)
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr_at(step, per_epoch)
            with autocast(device, runtime.precision):
                losses = objective.losses(batch)
            optimizer.zero_grad(set_to_none=True)
            share = team.weight(len(batch.label), keys.images_in(step))
            (losses["total"] * share if share != 1 else losses["total"]).backward()
            optimizer.step()
            meter.add(losses, len(batch.label))
            step += 1
            bar.update()

            end_of_epoch = step % per_epoch == 0
            together = end_of_epoch or step % runtime.log_steps == 0
            if together:
                metrics = meter.flush(step, state)
                log(metrics, step)
                bar.set_postfix({k: f"{v:.4g}" for k, v in metrics.items()})
            if end_of_epoch:
                history.append(meter.epoch(step // per_epoch, optimizer.param_groups[0]["lr"]))
                log({f"epoch_{k}": v for k, v in history[-1].items() if k != "epoch"}, step)
            due = time.monotonic() - saved > runtime.checkpoint_seconds
            number = stop.number
            if team.world > 1:  # all members save and stop at one step, where they meet anyway
                due, number = team.agree(due, number) if together else (False, 0)
            if number or (due and step < per_epoch * schedule.epochs):
                meter.flush(step, state)  # never save a state that has diverged
                _check_weights(networks, step, state)
                if team.leader:
                    _save(state, networks, optimizer, settings, step, history, meter)
                saved = time.monotonic()
            if number:
                if team.leader:
                    print(f"stopped at step {step}; run the same command to go on", file=sys.stderr)
                raise Interrupted(128 + number)
    objective.modules = networks
    return history


def optimizer_of(objective: Objective, schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimizer over all parameters that the objective trains."""
    parameters = [p for module in objective.modules.values() for p in module.parameters()]
    return OPTIMIZERS[schedule.optimizer](
        parameters, lr=schedule.lr, weight_decay=schedule.weight_decay
    )


class Meter:
    """Running means of losses, kept on the device between flushes so that no step waits."""

    def __init__(self, partial: dict | None = None, team: Team = ALONE) -> None:
        self._team = team
        self.sums: dict[str, float] = dict(partial["sums"]) if partial else {}
        self.images: int = partial["images"] if partial else 0
        self.seconds: float = partial["seconds"] if partial else 0.0
        self._pending: dict[str, torch.Tensor] = {}
        self._pending_images = 0
        self._since = time.perf_counter()

    def add(self, losses: dict[str, torch.Tensor], images: int) -> None:
        """Note one step's losses (means over ``images``)."""
        for name, value in losses.items():
            sofar = self._pending.get(name, 0)
            # Double: the order in which partial sums are flushed must not show in the result.
            self._pending[name] = sofar + value.detach().double() * images
        self._pending_images += images

    def flush(self, step: int, state: Path) -> dict[str, float]:
        """Means since the last flush, and images/s; raises Diverged where one is not finite."""
        mine = [value.item() for value in self._pending.values()]  # waits for the device
        *totals, images = self._team.sum([*mine, float(self._pending_images)])
        now = time.perf_counter()
        means = {}
        for name, value in zip(self._pending, totals, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + value
            means[name] = value / images
            if not math.isfinite(means[name]):
                raise _diverged(f"loss '{name}' is {means[name]}", step, state)
        if images:
            means["images_per_s"] = images / max(now - self._since, 1e-9)
        self.images += int(images)
        self.seconds += now - self._since
        self._pending, self._pending_images, self._since = {}, 0, now
        return means

    def epoch(self, epoch: int, lr: float) -> dict[str, float]:
        """The finished epoch's row; begins the next."""
        row = {"epoch": epoch, **{name: total / self.images for name, total in self.sums.items()}}
        row |= {"lr": lr, "seconds": self.seconds, "images_per_s": self.images / self.seconds}
        self.sums, self.images, self.seconds = {}, 0, 0.0
        return row


class StopSignal:
    """Turns SIGTERM and SIGINT into a flag that the loop reads after each step."""

    number = 0

    def __enter__(self) -> StopSignal:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.number = number


def _diverged(what: str, step: int, state: Path) -> Diverged:
    kept = f"the last good state is in {state}" if state.exists() else "no state saved"
    return Diverged(f"{what} at step {step}: training diverged ({kept}); lower lr or lambda")


def _check_weights(networks: dict[str, nn.Module], step: int, state: Path) -> None:
    """A finite loss may have had infinite gradients, which only the next loss would tell."""
    for kind, module in networks.items():
        for name, value in module.state_dict().items():
            if not value.isfinite().all():
                raise _diverged(f"{kind}'s {name} is NaN or infinite", step, state)


def _save(state, networks, optimizer, settings, step, history, meter) -> None:
    content = {
        "settings": json.dumps(settings, sort_keys=True, default=str),
        "step": step,
        "history": history,
        "partial": {"sums": meter.sums, "images": meter.images, "seconds": meter.seconds},
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


def _restore(state, objective, optimizer, settings, device):
    """(step, history, partial sums of the epoch, RNG) of the saved state, or of a new training."""
    if not state.exists():
        return 0, [], None, None
    try:
        content = torch.load(state, map_location="cpu", weights_only=True)
        if changed := _changed_settings(json.loads(content["settings"]), settings):
            _set_aside(state, changed)
            return 0, [], None, None
        for name, module in objective.modules.items():
            module.load_state_dict(content["modules"][name])
        optimizer.load_state_dict(content["optimizer"])
        step, rng = int(content["step"]), content["rng"].clone()
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes torch raise
        raise UserError(
            f"{state}: unreadable resume state ({type(error).__name__}); delete it to begin anew"
        ) from None
    print(f"resuming from step {step} ({state})", file=sys.stderr)
    return step, content["history"], content["partial"], rng


def _set_aside(state: Path, changed: list[str]) -> None:
    """Rename the state of a training with other settings; the first process of a team does it."""
    old = state.with_suffix(".old.pt")
    with suppress(FileNotFoundError):
        os.replace(state, old)
        said = f"settings changed ({'; '.join(changed)}); starting anew, earlier state in {old}"
        print(said, file=sys.stderr)


def _changed_settings(before: dict, now: dict) -> list[str]:
    now = json.loads(json.dumps(now, sort_keys=True, default=str))
    return [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def settings_of(schedule: Schedule, runtime: Runtime, **more: object) -> dict:
    """What defines a training's numbers: compared on resume, written into the checkpoint."""
    return {**asdict(schedule), "seed": runtime.seed, "precision": runtime.precision, **more}
