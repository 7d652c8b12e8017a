"""Which device a job computes on, how networks get there, and with which arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from ra.errors import UserError
from ra.runtime.cpu import accelerate
from ra.runtime.distributed import ALONE, Team
from ra.runtime.gpus import lease_gpu, visible_gpus
from ra.settings.shared import Machine

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def use_device(machine: Machine = Machine(), team: Team = ALONE) -> Iterator[torch.device]:
    """The device of this process, with its number of CPU threads set.

    Args:
        team: the processes of this job; each gets a GPU of its own.

    Raises:
        UserError: a GPU that this machine does not have.
    """
    if machine.threads:
        torch.set_num_threads(machine.threads)
    # Denormal numbers in nearly-zero gradients cost tens of times a normal multiplication.
    torch.set_flush_denormal(True)
    tensor_float = getattr(machine, "precision", "fp32") != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tensor_float
    name = machine.device
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        raise UserError(f"device: '{name}' needs a CUDA GPU, and no usable one is here")
    if name.startswith("cuda:"):
        count = torch.cuda.device_count()
        if int(name.removeprefix("cuda:")) >= count:
            raise UserError(
                f"device: '{name}' is none of the {count} GPUs, cuda:0 to cuda:{count - 1}"
            )
        if team.world > 1:
            raise UserError(f"device: '{name}' is one GPU for {team.world} processes; choose cuda")
        yield torch.device(name)
        return
    with lease_gpu(visible_gpus(), machine.jobs_per_gpu, team) as position:
        device = torch.device("cuda", position)
        if team.world > 1:
            torch.cuda.set_device(device)  # that of NCCL
        yield device


def placed(module: Network, device: torch.device) -> Network:
    """``module`` itself on ``device``, channels last, in the form that computes fastest there.

    Freeze what is to be fixed before. Parameters and their names stay as they are.
    """
    module.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        accelerate(module)
    return module


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast context for ``precision`` bf16; off for fp32 and tf32, see ``use_device``."""
    if precision not in ("fp32", "tf32", "bf16"):
        raise UserError(f"precision: '{precision}' is none of fp32, tf32, bf16")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
