"""One training step: operator by operator, or on a GPU recorded once and replayed as a whole.

A small network's step waits for its launches, hundreds of short kernels. A CUDA graph launches
them all at once; torch.compile makes fewer of them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ra.data.splits import Batch
from ra.errors import UserError, first_line
from ra.runtime.devices import autocast
from ra.runtime.distributed import ALONE, Team
from ra.settings.shared import TrainingRuntime
from ra.training.objectives import Objective

WARM_UP = 3  # steps before the recording, in which libraries choose and compile their kernels
Losses = dict[str, Tensor]


class Step:
    """Forward, backward and optimizer step of one batch, for each phase of an objective.

    Args:
        optimizers: one a phase, with their state restored.
        size: images of a whole batch; other batches are computed operator by operator.

    Raises:
        UserError: this training cannot be recorded.
    """

    def __init__(
        self,
        objective: Objective,
        optimizers: list[torch.optim.Optimizer],
        size: int,
        device: torch.device,
        runtime: TrainingRuntime,
        team: Team = ALONE,
    ) -> None:
        self.name, self.networks = type(objective).__name__, objective.modules
        self.size, self.device = size, device
        self.precision, self.how = runtime.precision, runtime.step
        self._phases = [*zip(objective.phases(), optimizers, strict=True)]
        self._eager = self._whole = [phase.losses for phase, _ in self._phases]
        self._groups = [(p.rate, g) for p, one in self._phases for g in one.param_groups]
        self._warm = 0
        self._replay: Callable[[], None] | None = None
        for _, group in self._groups:
            group["capturable"] = self.how != "eager"
        if self.how == "eager":
            return
        if device.type != "cuda" or team.world > 1:
            place = f"{team.world} processes" if team.world > 1 else f"the {device.type}"
            raise UserError(
                f"step: '{self.how}' is for one process on a GPU, and this training has {place}; "
                "choose eager"
            )
        self._beside = torch.cuda.Stream(device)
        for optimizer in optimizers:
            # torch would warn of steps that are not recorded: those of warming up are few.
            optimizer._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]
        if self.how == "compiled":
            self._whole = [torch.compile(losses, dynamic=False) for losses in self._eager]
        for _, group in self._groups:  # what is recorded reads the rate from the device
            group["lr"] = group["params"][0].new_zeros(())

    def __call__(self, batch: Batch, lr: float, share: float = 1.0) -> Losses:
        """Losses by name; those of a replay are overwritten by the next.

        Args:
            lr: learning rate.
            share: factor of the gradient.
        """
        for rate, group in self._groups:
            group["lr"] = lr * rate if self.how == "eager" else group["lr"].fill_(lr * rate)
        if self.how == "eager":
            return self._compute(self._eager, batch, share)
        if len(batch.label) != self.size:
            return self._on_stream(self._eager, batch)
        if self._warm < WARM_UP:
            self._warm += 1
            return self._on_stream(self._whole, batch)
        if self._replay is None:
            self._record(batch)
        for kept, new in zip(self._batch, batch, strict=True):
            if isinstance(kept, Tensor) and isinstance(new, Tensor):
                kept.copy_(new)
        self._replay()
        return self._losses

    def _compute(self, losses_of: list[Callable], batch: Batch, share: float = 1.0) -> Losses:
        losses: Losses = {}
        for (phase, optimizer), function in zip(self._phases, losses_of, strict=True):
            with fixed(self.networks[n] for n in self.networks.keys() - {*phase.modules}):
                with autocast(self.device, self.precision):
                    found = function(batch)
                optimizer.zero_grad()
                (found["total"] * share).backward()
            optimizer.step()
            # Nothing of this step's backward pass may live on while the next is recorded.
            losses |= {n: v.detach() + losses.get(n, 0) for n, v in found.items()}
        return losses

    def _on_stream(self, losses_of: list[Callable], batch: Batch) -> Losses:
        """A step on the stream of the recording, where gradients have to be at home."""
        here = torch.cuda.current_stream(self.device)
        self._beside.wait_stream(here)
        with torch.cuda.stream(self._beside):
            losses = self._compute(losses_of, batch)
        here.wait_stream(self._beside)
        return losses

    def _record(self, batch: Batch) -> None:
        """Note the kernels of a whole step, which computes nothing yet."""
        if batch.objects is not None:
            raise UserError(f"step: '{self.how}' cannot record boxes; choose eager")
        kept = {n: part.clone() for n, part in batch._asdict().items() if part is not None}
        self._batch = Batch(**kept)
        for _, optimizer in self._phases:
            optimizer.zero_grad()
        try:
            recorded = record(lambda: self._compute(self._whole, self._batch), self._beside)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise UserError(
                f"step: '{self.how}' cannot record {self.name} ({first_line(error)}); choose eager"
            ) from None
        self._losses, self._replay = recorded


def record(compute: Callable[[], Any], stream: torch.cuda.Stream) -> tuple[Any, Callable]:
    """(What ``compute`` returns, a function that computes it anew into the same memory)."""
    graph = torch.cuda.CUDAGraph()
    # Loader threads may allocate pinned memory meanwhile: only this thread is bound to record.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = compute()
    return result, graph.replay


@contextmanager
def fixed(modules: Iterable[nn.Module]) -> Iterator[None]:
    """``modules`` in evaluation mode and without gradients for what another phase trains."""
    modules = list(modules)
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    for module in modules:
        module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.train()
        for parameter in trained:
            parameter.requires_grad_(True)
