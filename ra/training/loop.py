"""One training loop for every objective, and for recognizers: read it from top to bottom.

Everything random is a function of (seed, epoch, index), the learning rate a function of the
step: a run that is killed and resumed gives the numbers of an uninterrupted one.
"""

import functools
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ra.data.batches import TrainingKeys, loader
from ra.data.prefetch import ahead
from ra.data.splits import Crops
from ra.errors import UserError
from ra.progress import Progress
from ra.runtime.devices import placed
from ra.runtime.distributed import ALONE, Team
from ra.settings.shared import Schedule, TrainingRuntime
from ra.training.objectives import Objective
from ra.training.resume import StateFile
from ra.training.step import Step

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
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
    networks = objective.modules
    for module in networks.values():
        placed(module, device).train()
    optimizers = [
        optimizer_of([networks[n] for n in phase.modules], schedule) for phase in objective.phases()
    ]
    kept = StateFile(state, networks, optimizers, settings)
    step, history, partial, rng = kept.restore()
    size, epochs = schedule.batch_size, schedule.epochs
    team.check(len(crops), size)
    advance = Step(objective, optimizers, size, device, runtime, team)
    objective.modules = team.wrap(networks)
    objective.begin(crops, schedule.epochs, device, runtime.precision)
    keys = TrainingKeys(len(crops), size, epochs, runtime.seed, step, team.rank, team.world)
    per_epoch, last = keys.steps_per_epoch, keys.steps_per_epoch * epochs
    meter, saved = Meter(partial, team), time.monotonic()
    batches = ahead(loader(crops, keys, runtime.workers, device))
    name = settings.get("name", "train")
    bar = Progress(
        total=last, initial=step, name=name, images=size, epochs=epochs, shown=team.leader
    )
    with stop_signals() as signals, bar, closing(batches):
        for batch in batches:
            if rng is not None:  # only now: to begin, the loader took a number of its own
                torch.set_rng_state(rng)
                rng = None
            lr = schedule.lr_at(step, per_epoch)
            # The average over the members of a team is then the mean over the whole batch.
            share = len(batch.label) * team.world / keys.images_in(step)
            losses = advance(batch.to(device), lr, share)
            meter.add(losses, len(batch.label))
            step += 1
            bar.update()

            end_of_epoch = step % per_epoch == 0
            meet = end_of_epoch or step % runtime.log_steps == 0
            if meet:
                metrics = meter.flush(step, state)
                log(metrics, step)
                bar.set_postfix({k: f"{v:.4g}" for k, v in metrics.items()})
            if end_of_epoch:
                history.append(meter.end_epoch(step // per_epoch, lr))
                log({f"epoch_{k}": v for k, v in history[-1].items() if k != "epoch"}, step)
            if team.world == 1 or meet:  # all members save and stop at one step
                due = step < last and time.monotonic() - saved > runtime.checkpoint_seconds
                due, number = team.agree(due, max(signals, default=0))
                if due or number:
                    meter.flush(step, state)  # never save a state that has diverged
                    _check_weights(networks, step, state)
                    if team.leader:
                        kept.save(step, history, meter.epoch)
                    saved = time.monotonic()
                if number:
                    if team.leader:
                        said = f"stopped at step {step}; run the same command to go on"
                        print(said, file=sys.stderr)
                    raise Interrupted(128 + number)
    objective.modules = networks
    return history


def optimizer_of(modules: Iterable[nn.Module], schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimizer over all parameters of ``modules``."""
    parameters = [p for module in modules for p in module.parameters()]
    # Fused: one kernel over all parameters, which saves small networks several percent of a step.
    more: dict[str, Any] = {"lr": schedule.lr, "weight_decay": schedule.weight_decay, "fused": True}
    return OPTIMIZERS[schedule.optimizer](parameters, **more)


class Meter:
    """Means of losses, kept on the device between flushes so that no step waits.

    Args:
        epoch: sums of the unfinished epoch, as saved; empty at its beginning.
    """

    def __init__(self, epoch: dict[str, Any], team: Team = ALONE) -> None:
        self.epoch = epoch or {"sums": {}, "images": 0, "seconds": 0.0}
        self._team = team
        self._begin()

    def _begin(self) -> None:
        self._pending: dict[str, torch.Tensor] = {}
        self._images, self._since = 0, time.perf_counter()

    def add(self, losses: dict[str, torch.Tensor], images: int) -> None:
        """Note one step's losses (means over ``images``), detached."""
        for name, value in losses.items():
            sofar = self._pending.get(name, 0)
            # Double: the order in which partial sums are flushed must not show in the result.
            self._pending[name] = sofar + value.double() * images
        self._images += images

    def flush(self, step: int, state: Path) -> dict[str, float]:
        """Means since the last flush, and images/s; raises Diverged where one is not finite."""
        mine = [value.item() for value in self._pending.values()]  # waits for the device
        *totals, images = self._team.sum([*mine, float(self._images)])
        seconds, means, sums = time.perf_counter() - self._since, {}, self.epoch["sums"]
        for name, value in zip(self._pending, totals, strict=True):
            sums[name] = sums.get(name, 0.0) + value
            means[name] = value / images
            if not math.isfinite(means[name]):
                raise _diverged(f"loss '{name}' is {means[name]}", step, state)
        if images:
            means["images_per_s"] = images / max(seconds, 1e-9)
        self.epoch["images"] += int(images)
        self.epoch["seconds"] += seconds
        self._begin()
        return means

    def end_epoch(self, epoch: int, lr: float) -> dict[str, float]:
        """The finished epoch's row; begins the next."""
        images, seconds = self.epoch["images"], self.epoch["seconds"]
        means = {name: total / images for name, total in self.epoch["sums"].items()}
        self.epoch = {"sums": {}, "images": 0, "seconds": 0.0}
        speed = {"seconds": seconds, "images_per_s": images / seconds}
        return {"epoch": epoch, **means, "lr": lr, **speed}


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT in a list, at which the loop looks after each step."""
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()  # others cannot handle signals
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in ((signal.SIGTERM, signal.SIGINT) if main else ())
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _diverged(what: str, step: int, state: Path) -> Diverged:
    kept = f"the last good state is in {state}" if state.exists() else "no state saved"
    return Diverged(f"{what} at step {step}: training diverged ({kept}); lower lr or lambda")


def _check_weights(networks: dict[str, nn.Module], step: int, state: Path) -> None:
    """A finite loss may have had infinite gradients, which only the next loss would tell."""
    for kind, module in networks.items():
        for name, value in module.state_dict().items():
            if not value.isfinite().all():
                raise _diverged(f"{kind}'s {name} is NaN or infinite", step, state)
