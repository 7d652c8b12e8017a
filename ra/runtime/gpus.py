"""Hands each job of this machine a GPU of its own.

Snakemake counts GPUs but has no names for them, and jobs may come from several runs, so each place
on a GPU is a name that Linux gives to one process at a time (an abstract socket) and frees however
that ends. The name holds the GPU's UUID, because a GPU's number differs between jobs.
"""

import errno
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from ra.errors import UserError
from ra.runtime.distributed import ALONE, Team

LOOK_S = 0.5  # between two looks for a free GPU
PLACE = "\0ra-gpu-{}-{}"  # of which GPU, and the number of the place on it


def visible_gpus() -> list[str]:
    """UUID of each GPU that this process may use, in the order in which CUDA counts them."""
    count = torch.cuda.device_count()  # it follows CUDA_VISIBLE_DEVICES as CUDA does
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]


@contextmanager
def lease_gpu(gpus: list[str], jobs_per_gpu: int = 1, team: Team = ALONE) -> Iterator[int]:
    """Hold a place on one of ``gpus``, waiting until one is free; yields its position in the list.

    The members of a team get different GPUs, all at once or none: two teams cannot wait for each
    other.

    Args:
        jobs_per_gpu: places on each GPU. A GPU without a job comes before one with a job.

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
    places = [[PLACE.format(gpu, n) for gpu in gpus] for n in range(jobs_per_gpu)]
    several = f"all {len(gpus)} GPUs are" if len(gpus) > 1 else "the GPU is"
    with_jobs = f" with {jobs_per_gpu} jobs each" if jobs_per_gpu > 1 else ""
    said = f"waiting for a GPU: {several} in use{with_jobs} (more jobs a GPU: --jobs-per-gpu)"
    with ExitStack() as held:
        while True:
            # The first process of each machine takes the GPUs of all; the others learn theirs.
            mine = _take(places, team.local_world, held) if team.local_rank == 0 else []
            taken = team.gather(mine)
            if all(taken[:: team.local_world]):
                break
            held.close()
            if team.leader and said:
                print(said, file=sys.stderr, flush=True)
                said = ""
            time.sleep(random.Random().uniform(LOOK_S / 2, LOOK_S))  # never two in step
        yield taken[team.rank - team.local_rank][team.local_rank]


def _take(places: list[list[str]], count: int, held: ExitStack) -> list[int]:
    """Positions of ``count`` different GPUs, their places in ``held``; [] where so many lack.

    Args:
        places: for each place on a GPU, its name on every GPU.
    """
    found: list[int] = []
    for row in places:
        for position, name in enumerate(row):
            if position not in found and _hold(name, held):
                found.append(position)
            if len(found) == count:
                return found
    return []


def _hold(name: str, held: ExitStack) -> bool:
    """Whether no other process had the ``name``, which is now in ``held``."""
    with ExitStack() as mine:
        try:
            mine.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        held.enter_context(mine.pop_all())
        return True
