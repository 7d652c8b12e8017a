"""One training on several GPUs: a team of processes, one per GPU, that ``torchrun`` starts.

Each process takes every world-th image of a global batch. Losses are weighted by its share,
gradients averaged and batch-norm statistics taken over the whole batch, so a team computes what
one process would, up to rounding.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from ra.errors import UserError


@dataclass(frozen=True)
class Team:
    """The processes of one job; a team of one does not communicate."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0  # of those on this machine
    local_world: int = 1

    @property
    def leader(self) -> bool:
        """Whether this process writes files, logs and progress for all."""
        return self.rank == 0

    def check(self, images: int, batch_size: int) -> None:
        """UserError where some global batch would leave a member without an image."""
        last = images % batch_size
        # One image left over joins the batch before it (ra.data.batches.TrainingKeys).
        smallest = min(images, last if last > 1 else batch_size)
        if smallest < self.world:
            raise UserError(
                f"batch_size: {batch_size} leaves {smallest} of {images} images to a step, fewer "
                f"than the {self.world} processes; choose another"
            )

    def wrap(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """``modules`` with averaged gradients and batch statistics of the whole batch."""
        if self.world == 1:
            return modules
        return {name: DistributedDataParallel(share_batch_norm(m)) for name, m in modules.items()}

    def sum(self, values: list[float], how: Any = dist.ReduceOp.SUM) -> list[float]:
        """Element-wise sums over all members; every member gets the same numbers."""
        if self.world == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, how)
        return total.tolist()

    def agree(self, due: bool, number: int) -> tuple[bool, int]:
        """For all members: whether the leader is due to save, and any member's stop signal."""
        due, number = self.sum([due and self.leader, number], dist.ReduceOp.MAX)
        return bool(due), int(number)

    def gather(self, value: Any) -> list[Any]:
        """``value`` of every member, by rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values


ALONE = Team()
PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


@contextmanager
def join() -> Iterator[Team]:
    """The team that ``torchrun`` put this process into, else a team of one."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield ALONE
        return
    with suppress(OSError, AttributeError):  # not Linux
        # End when torchrun ends, even by SIGKILL; otherwise the training would go on.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        places = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        yield Team(dist.get_rank(), world, *places)
    finally:
        dist.destroy_process_group()


def is_leader() -> bool:
    """Whether this process writes files and logs for its job; known before it joins a team."""
    return int(os.environ.get("RANK", 0)) == 0


class SharedBatchNorm(nn.BatchNorm2d):
    """SyncBatchNorm for CPUs, which torch lacks: (N, C, H, W) -> the same.

    The variance is the mean of squared differences from the mean, so that a mean that is large
    beside the deviation costs no digits.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = x.double()
        number = all_reduce(wide.new_tensor(wide.numel() / wide.shape[1]))
        mean = all_reduce(wide.sum((0, 2, 3))) / number
        centred = wide - mean.view(1, -1, 1, 1)
        variance = all_reduce(centred.square().sum((0, 2, 3))) / number
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.float(), self.momentum)
            self.running_var.lerp_((variance * number / (number - 1)).float(), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)


def share_batch_norm(module: nn.Module) -> nn.Module:
    """``module`` with the statistics of every BatchNorm2d in it taken over all processes."""
    if next(module.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SharedBatchNorm
    return module
