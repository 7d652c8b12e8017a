"""One bare training step under other arithmetic, layouts and optimizers: what pays here."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from ra.bench.measure import spread
from ra.bench.scene import Options, Work, objective_of, repeated, resident
from ra.bench.training import place
from ra.data.splits import Batch
from ra.runtime.devices import autocast
from ra.training.objectives import Objective

VARIANTS = (
    "torch's own modules",
    "contiguous",
    "loop Adam",
    "bf16",
    "folded batch norm",
    "compiled",
)


def compare(options: Options, compiled: bool) -> list[dict[str, object]]:
    """How many times as fast each variant is as what ``train`` does; objective ra.

    Args:
        compiled: also measure torch.compile, which compiles for about a minute.
    """
    rows = []
    for work in options.works:
        for task in options.tasks:
            rows += _rows(options, work, task, compiled)
    return rows


def _rows(options: Options, work: Work, task: str, compiled: bool) -> list[dict[str, object]]:
    batches = repeated(resident(options, work, task, 1), work.steps)
    ways = {"ours": _way(options, task, batches)}
    for variant in VARIANTS:
        if variant != "compiled" or compiled:
            ways[variant] = _way(options, task, batches, variant)
    seconds = options.interleaved(ways)
    rows = []
    for variant in VARIANTS:
        row = {"px": work.crop, "batch": work.batch_size, "task": task, "variant": variant}
        times = seconds.get(variant)
        rows.append(row | (spread(seconds["ours"], times) if times else {}))
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
    elif variant in ("compiled", "torch's own modules"):
        for network in networks:
            network.to(options.device, memory_format=torch.channels_last)
        if variant == "compiled":
            compiled = [torch.compile(network) for network in networks]
            objective.modules["processor"], objective.recognizer = compiled
    else:
        place(objective, options.device)
    processor = objective.modules["processor"].train()
    optimizer = torch.optim.Adam(
        processor.parameters(), lr=1e-4, fused=variant != "loop Adam", foreach=False
    )
    precision = "bf16" if variant == "bf16" else "fp32"

    def run() -> None:
        for batch in batches:
            _step(objective, optimizer, batch, options.device, precision)

    return run


def _step(objective: Objective, optimizer, batch: Batch, device, precision: str) -> None:
    with autocast(device, precision):
        losses = objective.losses(batch)
    optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()
    optimizer.step()


def folded(recognizer: nn.Module) -> nn.Module:
    """A copy of a frozen R with batch norms folded into the convolutions before them."""
    from torch.fx.experimental.optimization import fuse

    copy = deepcopy(recognizer).eval()
    copy.classifier = fuse(copy.classifier)
    return copy.requires_grad_(False)
