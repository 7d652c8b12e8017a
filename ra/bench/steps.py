"""One bare training step under other arithmetic, layouts and optimizers: what pays here."""

from collections.abc import Callable
from copy import deepcopy
from itertools import product

import torch
from torch import nn

from ra.bench.measure import spread
from ra.bench.scene import Options, Work, objective_of, repeated, resident
from ra.bench.training import place
from ra.data.splits import Batch
from ra.settings.shared import TrainingRuntime
from ra.training.step import Step

RECORDED = ("graph", "compiled")  # runtime.step, on a GPU only
VARIANTS = (
    "torch's own modules",
    "contiguous",
    "loop Adam",
    "bf16",
    "folded batch norm",
    *RECORDED,
)


def compare(options: Options) -> list[dict[str, object]]:
    """How many times as fast each variant is as what ``train`` does; objective ra.

    Each recording begins with a few eager steps: take ``--steps 40`` or more.
    """
    every = product(options.works, options.tasks)
    return [row for work, task in every for row in _rows(options, work, task)]


def _rows(options: Options, work: Work, task: str) -> list[dict[str, object]]:
    batches = repeated(resident(options, work, task, 1), work.steps)
    ways = {"ours": _way(options, task, batches)}
    for variant in VARIANTS:
        if variant not in RECORDED or options.device.type == "cuda":
            ways[variant] = _way(options, task, batches, variant)
    seconds = options.interleaved(ways)
    rows: list[dict[str, object]] = []
    for variant in ("ours", *VARIANTS):
        row = {"px": work.crop, "batch": work.batch_size, "task": task, "variant": variant}
        if times := seconds.get(variant):
            row["ms/step"] = 1000 * min(times) / work.steps
            row |= spread(seconds["ours"], times)
        rows.append(row)
    return rows


def _way(
    options: Options, task: str, batches: list[Batch], variant: str = ""
) -> Callable[[], None]:
    """All ``batches``, once each; networks and optimizer are made before."""
    objective = objective_of(options, "ra", task)
    networks = objective.modules["processor"], objective.recognizer
    if variant == "folded batch norm":
        objective.recognizer = folded(objective.recognizer)
    if variant == "contiguous":
        for network in networks:
            network.to(options.device)
    elif variant == "torch's own modules":
        for network in networks:
            network.to(options.device, memory_format=torch.channels_last)
    else:
        place(objective, options.device)
    processor = objective.modules["processor"].train()
    optimizer = torch.optim.Adam(
        processor.parameters(), lr=1e-4, fused=variant != "loop Adam", foreach=False
    )
    runtime = TrainingRuntime(
        precision="bf16" if variant == "bf16" else options.precision,
        step=variant if variant in RECORDED else "eager",
    )
    step = Step(objective, [optimizer], len(batches[0].label), options.device, runtime)

    def run() -> None:
        for batch in batches:
            step(batch, 1e-4)

    return run


def folded(recognizer: nn.Module) -> nn.Module:
    """A copy of a frozen R with batch norms folded into the convolutions before them."""
    from torch.fx.experimental.optimization import fuse

    copy = deepcopy(recognizer).eval()
    copy.classifier = fuse(copy.classifier)
    return copy.requires_grad_(False)
