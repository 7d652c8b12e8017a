"""Hands each job of this machine a GPU of its own.

Snakemake counts GPUs but has no names for them, and jobs may come from several runs, so each GPU
has a lock file for every job that it takes. The file bears the GPU's UUID, because a GPU's number
differs between jobs. The kernel frees the locks of a killed job.
"""

from __future__ import annotations

import os
import random
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
from filelock import Timeout

from ra.errors import UserError
from ra.files import locked
from ra.runtime.distributed import ALONE, Team

LOOK_S = 0.5  # between two looks for a free GPU


def visible_gpus() -> list[str]:
    """UUID of each GPU that this process may use, in the order in which CUDA counts them."""
    count = torch.cuda.device_count()  # it follows CUDA_VISIBLE_DEVICES as CUDA does
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]


@contextmanager
def lease_gpu(
    gpus: list[str], jobs_per_gpu: int = 1, team: Team = ALONE, folder: Path | None = None
) -> Iterator[int]:
    """Hold a place on one of ``gpus``, waiting until one is free; yields its position in the list.

    The members of a team get different GPUs, all at once or none: two teams cannot wait for each
    other.

    Args:
        jobs_per_gpu: places on each GPU. A GPU without a job comes before one with a job.
        folder: of the lock files; by default a private one of this user.

    Raises:
        UserError: there are fewer GPUs than the team has processes on this machine.
    """
    if team.local_world > len(gpus):
        raise UserError(
            f"gpus: {team.local_world} processes need a GPU each, but this job sees {len(gpus)}"
        )
    if "SLURM_SHARDS_ON_NODE" in os.environ:  # Slurm itself has several jobs share a GPU
        yield team.local_rank
        return
    folder = folder or private_folder()
    locks = [[folder / f"{gpu}-{n}.lock" for gpu in gpus] for n in range(jobs_per_gpu)]
    several = f"all {len(gpus)} GPUs are" if len(gpus) > 1 else "the GPU is"
    with_jobs = f" with {jobs_per_gpu} jobs each" if jobs_per_gpu > 1 else ""
    said = f"waiting for a GPU: {several} in use{with_jobs} (more jobs a GPU: --jobs-per-gpu)"
    with ExitStack() as held:
        while True:
            # The first process of each machine takes the GPUs of all; the others learn theirs.
            mine = _take(locks, team.local_world, held) if team.local_rank == 0 else []
            taken = team.gather(mine)
            if all(taken[:: team.local_world]):
                break
            held.close()
            if team.leader and said:
                print(said, file=sys.stderr, flush=True)
                said = ""
            time.sleep(random.Random().uniform(LOOK_S / 2, LOOK_S))  # never two in step
        yield taken[team.rank - team.local_rank][team.local_rank]


def _take(locks: list[list[Path]], count: int, held: ExitStack) -> list[int]:
    """Positions of ``count`` different GPUs, their locks in ``held``; [] where so many lack.

    Args:
        locks: for each place on a GPU, the file of every GPU.
    """
    found: list[int] = []
    for row in locks:
        for position, lock in enumerate(row):
            if position not in found:
                with suppress(Timeout):
                    held.enter_context(locked(lock))
                    found.append(position)
            if len(found) == count:
                return found
    return []


def private_folder() -> Path:
    """A folder that this user alone can write, the same for all jobs of the machine.

    Raises:
        UserError: another user made it first, who could then decide who gets a GPU.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"))
    if runtime.is_dir() and runtime.stat().st_uid == os.getuid():
        folder = runtime / "ra-gpus"
    else:
        folder = Path(tempfile.gettempdir()) / f"ra-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
        raise UserError(
            f"{folder}: belongs to another user or is no folder; have it removed, or set "
            "XDG_RUNTIME_DIR to a folder of your own"
        )
    folder.chmod(0o700)
    return folder
