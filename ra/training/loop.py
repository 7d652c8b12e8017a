"""One training loop for every objective, and for R: read it from top to bottom.

Everything random is a function of (seed, epoch, index), the learning rate a function of the
step: a run that is killed and resumed gives the numbers of an uninterrupted one.
"""

from __future__ import annotations

import functools
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from torch import nn

from ra.data.prefetch import ahead
from ra.data.splits import Crops, TrainingKeys, loader
from ra.errors import UserError
from ra.progress import Progress
from ra.runtime.devices import autocast, placed
from ra.runtime.distributed import ALONE, Team
from ra.settings.shared import Schedule, TrainingRuntime
from ra.training.objectives import Objective
from ra.training.resume import restore_state, save_state

# Fused: one kernel over all parameters, which on small networks saves several percent of a step.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "sgd": functools.partial(torch.optim.SGD, fused=True, momentum=0.9),
}


class Diverged(UserError):
    """The loss became NaN or infinite; the last good state is kept."""


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C; the state has been saved. Exit code 128 + signal."""


Log = Callable[[dict[str, float], int], None]


def train(
    objective: Objective,
    crops: Crops,
    schedule: Schedule,
    runtime: TrainingRuntime,
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
    step, history, partial, rng = restore_state(state, networks, optimizer, settings)
    objective.modules = team.wrap(networks)
    keys = TrainingKeys(
        len(crops), schedule.batch_size, schedule.epochs, runtime.seed, step, team.rank, team.world
    )
    team.check(len(crops), schedule.batch_size)
    per_epoch = keys.steps_per_epoch
    objective.begin(crops, schedule.epochs, device, runtime.precision)
    meter = Meter(partial, team)
    saving = _Saving(state, networks, optimizer, settings, runtime.checkpoint_seconds, team)
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
    with StopSignal() as stop, bar, closing(batches):
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
            last = step == per_epoch * schedule.epochs
            saving.after(step, history, meter, stop.number, together, last)
    objective.modules = networks
    return history


class _Saving:
    """Saves the state when it is due, or when a signal ends the training."""

    def __init__(self, state: Path, networks, optimizer, settings, seconds: float, team: Team):
        self.state, self.networks, self.optimizer = state, networks, optimizer
        self.settings, self.seconds, self.team = settings, seconds, team
        self.saved = time.monotonic()

    def after(self, step: int, history, meter: Meter, number: int, together: bool, last: bool):
        """Called after each step; raises Interrupted where a signal of this ``number`` came."""
        due = time.monotonic() - self.saved > self.seconds
        if self.team.world > 1:  # all members save and stop at one step, where they meet anyway
            due, number = self.team.agree(due, number) if together else (False, 0)
        if number or (due and not last):
            meter.flush(step, self.state)  # never save a state that has diverged
            _check_weights(self.networks, step, self.state)
            if self.team.leader:
                partial = {"sums": meter.sums, "images": meter.images, "seconds": meter.seconds}
                save_state(
                    self.state, self.networks, self.optimizer, self.settings, step, history, partial
                )
            self.saved = time.monotonic()
        if number:
            if self.team.leader:
                print(f"stopped at step {step}; run the same command to go on", file=sys.stderr)
            raise Interrupted(128 + number)


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
