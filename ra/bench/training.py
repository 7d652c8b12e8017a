"""The limit: the bare step on a resident batch, against ``ra.training.loop.train``."""

import tempfile
from itertools import product
from pathlib import Path

import torch

from ra.bench.measure import CLOCKS, spread, verdict
from ra.bench.scene import (
    Options,
    Work,
    objective_of,
    repeated,
    resident,
    training_crops,
    training_schedule,
)
from ra.data.splits import Batch, Crops
from ra.runtime.devices import autocast, placed
from ra.settings.shared import Schedule
from ra.tracking.journal import Journal
from ra.training.loop import optimizer_of, train
from ra.training.objectives import Objective

TARGET = 0.95


def compare(options: Options) -> list[dict[str, object]]:
    """Share of the bare step's speed that ``train`` reaches, per size, task and objective."""
    every = product(options.works, options.tasks, options.objectives)
    return [_row(options, *one) for one in every]


def _row(options: Options, work: Work, task: str, name: str) -> dict[str, object]:
    crops = training_crops(options, work, task)
    batches = repeated(resident(options, work, task, 1), work.steps)
    schedule = training_schedule(work)
    objective = objective_of(options, name, task)

    def limit() -> None:
        bare(objective, batches, schedule, options.device, options.precision)

    # A state saved at every step: what one costs, which by default comes once a minute.
    clock = CLOCKS[options.clock]
    begin = clock()
    complete(objective, crops, schedule, options, checkpoint_seconds=0)
    saving = clock() - begin
    ways = {
        "bare": limit,
        "train": lambda: complete(objective, crops, schedule, options, checkpoint_seconds=60),
    }
    seconds = options.interleaved(ways)
    ratio = spread(seconds["bare"], seconds["train"])
    step, train_step = (1000 * min(seconds[way]) / work.steps for way in ("bare", "train"))
    return {
        "px": work.crop,
        "batch": work.batch_size,
        "task": task,
        "objective": name,
        "bare ms/step": step,
        "train ms/step": train_step,
        "with a save ms/step": 1000 * saving / work.steps,
        **ratio,
        **verdict(ratio["best"], TARGET, at_least=True),
    }


def bare(
    objective: Objective,
    batches: list[Batch],
    schedule: Schedule,
    device: torch.device,
    precision: str = "fp32",
) -> None:
    """Forward, backward and optimizer step on batches that are on the device; nothing else."""
    place(objective, device)
    for module in objective.modules.values():
        module.train()
    optimizer = optimizer_of(objective.modules.values(), schedule)
    for batch in batches:
        with autocast(device, precision):
            losses = objective.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        optimizer.step()


def place(objective: Objective, device: torch.device) -> None:
    """Networks and R on ``device``, as a job places them."""
    for module in (*objective.modules.values(), objective.recognizer):
        if module is not None:
            placed(module, device)


def complete(
    objective: Objective,
    crops: Crops,
    schedule: Schedule,
    options: Options,
    checkpoint_seconds: float,
) -> list[dict[str, float]]:
    """``train`` with loading, degradation, a journal of metrics and saved states."""
    place(objective, options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        journal = Journal(Path(folder), "bench", {})
        history = train(
            objective,
            crops,
            schedule,
            options.runtime(checkpoint_seconds),
            options.device,
            Path(folder) / "state.pt",
            {"name": "bench"},
            lambda metrics, step: journal.write("metrics", step=step, values=metrics),
        )
        journal.close()
    return history
