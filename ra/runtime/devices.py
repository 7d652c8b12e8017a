"""Which device and which arithmetic; hands a free GPU to each job of one machine."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn

from ra.errors import UserError
from ra.runtime.cpu import accelerate

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def visible_gpus() -> list[str]:
    """GPU ids this process may use, as CUDA_VISIBLE_DEVICES spells them; empty without CUDA."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu.strip() for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


@contextmanager
def lease_gpu(gpus: list[str], jobs_per_gpu: int = 1, folder: Path | None = None) -> Iterator[int]:
    """Hold one of ``gpus`` alone (or with ``jobs_per_gpu - 1`` others); yields its position.

    Snakemake counts GPUs but has no ids: a lock file per GPU and place hands them out. The
    locks belong to the process, so a killed job frees its GPU.

    Raises:
        UserError: every place is taken.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"ra-gpus-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(jobs_per_gpu):
        for position, gpu in enumerate(gpus):
            lock = FileLock(folder / f"gpu-{gpu.replace('/', '_')}-{place}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            try:
                yield position
            finally:
                lock.release()
            return
    raise UserError(
        f"device: all {len(gpus) * jobs_per_gpu} places on GPUs {', '.join(gpus)} are taken; "
        "start fewer jobs at once (--resources gpu=N) or raise jobs_per_gpu"
    )


@contextmanager
def use_device(
    name: str = "auto", threads: int = 0, jobs_per_gpu: int = 1
) -> Iterator[torch.device]:
    """The device of this job.

    Args:
        name: ``auto`` (a free GPU, else the CPU), ``cpu``, ``cuda`` (a free GPU) or ``cuda:N``.
        threads: CPU threads of this process; 0 leaves torch's choice. A setting of the
            experiment: sums depend on it, results must not depend on the machine.
    """
    if threads < 0 or jobs_per_gpu < 1:
        raise UserError("threads must be 0 or more and jobs-per-gpu at least 1")
    if threads:
        torch.set_num_threads(threads)
    # Denormal numbers in nearly-zero gradients cost tens of times a normal multiplication.
    torch.set_flush_denormal(True)
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise UserError(f"device: '{name}' is none of auto, cpu, cuda, cuda:N")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        _keep_freed_memory()
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        raise UserError(f"device: '{name}' asked for, but this machine has no usable CUDA GPU")
    if name.startswith("cuda:"):
        yield torch.device(name)
        return
    with lease_gpu(visible_gpus(), jobs_per_gpu) as position:
        yield torch.device("cuda", position)


def _keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, as torch does on a GPU.

    Otherwise large tensors go back to the kernel, which clears every page of the next ones: up to
    a quarter of a step (docs/performance.md).
    """
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def placed(module: nn.Module, device: torch.device) -> nn.Module:
    """``module`` itself on ``device``, channels last, in the form that computes fastest there.

    Freeze what is to be fixed before; parameters and their names stay as they are.
    """
    module.to(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        accelerate(module)
    return module


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast context for ``precision`` fp32 (off) or bf16."""
    if precision not in ("fp32", "bf16"):
        raise UserError(f"precision: '{precision}' is neither fp32 nor bf16")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
