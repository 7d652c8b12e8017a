"""Who gets which GPU. The GPUs of these tests are names: to hand them out needs no CUDA."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch

from ra.errors import UserError
from ra.runtime import gpus
from ra.runtime.devices import use_device
from ra.runtime.distributed import Team
from ra.runtime.gpus import lease_gpu, visible_gpus
from ra.settings.shared import Machine


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of its own for each test: nobody else's GPUs, no cluster manager."""
    monkeypatch.setattr(gpus, "PLACE", f"\0{uuid4()}-{{}}-{{}}")
    monkeypatch.delenv("SLURM_SHARDS_ON_NODE", raising=False)
    monkeypatch.setattr(gpus, "LOOK_S", 0.01)


@pytest.fixture
def cuda(monkeypatch):
    """``cuda(uuid, ...)``: what torch sees of an NVIDIA machine."""

    def see(*uuids):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index])
        )

    return see


class Job(threading.Thread):
    """Takes a GPU and keeps it until told to end."""

    def __init__(self, *arguments):
        super().__init__(daemon=True)
        self.arguments, self.got, self.told = arguments, None, threading.Event()
        self.start()

    def run(self):
        with lease_gpu(*self.arguments) as self.got:
            self.told.wait()

    def end(self):
        self.told.set()
        self.join(5)

    def waits(self) -> bool:
        self.join(0.1)
        return self.got is None and self.is_alive()

    def position(self) -> int:
        end = time.monotonic() + 5
        while self.got is None and time.monotonic() < end:
            time.sleep(0.005)
        return self.got


def test_a_job_waits_for_a_gpu_and_says_so_once(capsys):
    first, second = Job(["a", "b"]), Job(["a", "b"])
    assert {first.position(), second.position()} == {0, 1}
    third = Job(["a", "b"])
    assert third.waits()
    second.end()
    assert third.position() == second.got
    first.end()
    third.end()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "waiting for a GPU: all 2 GPUs are in use (more jobs a GPU: --jobs-per-gpu)"


def test_jobs_that_may_share_spread_over_the_gpus_first():
    with ExitStack() as jobs:
        got = [jobs.enter_context(lease_gpu(["a", "b"], 2)) for _ in range(4)]
        assert got == [0, 1, 0, 1]
        fifth = Job(["a", "b"], 2)
        assert fifth.waits()
    assert fifth.position() in (0, 1)  # it may look while the others end one by one
    fifth.end()


def test_a_gpu_is_known_by_its_uuid_whatever_its_number(cuda):
    """Slurm shows each job its own GPU as number 0."""
    cuda("GPU-1111")
    with use_device() as mine:
        cuda("GPU-2222")
        with use_device() as other:
            assert mine == other == torch.device("cuda", 0)
        cuda("GPU-2222", "GPU-1111")
        with use_device(Machine(device="cuda")) as free:
            assert free == torch.device("cuda", 0)  # GPU-1111 is number 1 here
            job = Job(visible_gpus())
            assert job.waits()
    assert job.position() in (0, 1)
    job.end()


def test_what_is_visible_is_counted_as_cuda_does(monkeypatch):
    """CUDA ends its list at the first number that is none."""
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 4)
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=n))
    for value, count in (("0,-1,1", 1), ("3, 1", 2), ("", 0), ("2,2", 0), ("nonsense", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert len(visible_gpus()) == count, value


def test_a_gpu_that_slurm_shares_is_not_waited_for(monkeypatch):
    monkeypatch.setenv("SLURM_SHARDS_ON_NODE", "4")
    with lease_gpu(["a"]) as first, lease_gpu(["a"]) as second:
        assert first == second == 0


def team(size: int, *arguments) -> list[Job]:
    """The processes of a team, as threads; what they gather goes through a barrier."""
    barrier, said = threading.Barrier(size), [None] * size

    class Member(Team):
        def gather(self, value):
            said[self.rank] = value
            barrier.wait(5)
            everyone = list(said)
            barrier.wait(5)
            return everyone

    names, *more = arguments
    return [Job(names, *(more or [1]), Member(rank, size, rank, size)) for rank in range(size)]


def test_each_process_of_a_team_has_a_gpu_of_its_own():
    """Where another job holds a place on one of two, four places do not mean four GPUs."""
    with lease_gpu(["a", "b"], 2) as other:
        members = team(2, ["a", "b"], 2)
        assert other == 0 and {one.position() for one in members} == {0, 1}
        [one.end() for one in members]


def test_a_team_takes_its_gpus_at_once_or_none(capsys):
    """Two teams that held half of what they need would wait for each other for ever."""
    with lease_gpu(["a", "b"]):
        members = team(2, ["a", "b"])
        assert all(one.waits() for one in members)
        with lease_gpu(["b"]):  # they hold nothing while they wait
            pass
    assert [one.position() for one in members] == [0, 1]
    [one.end() for one in members]
    teams = [team(2, ["a", "b"]) for _ in range(3)]
    while teams:
        done = [t for t in teams if t[0].got is not None]
        assert len(done) <= 1
        for one in done:
            assert [member.position() for member in one] == [0, 1]
            [member.end() for member in one]
            teams.remove(one)
    assert len(capsys.readouterr().err.splitlines()) <= 4  # one line a team that waits


def test_a_team_larger_than_the_machine_is_one_line():
    with pytest.raises(UserError, match="2 processes need a GPU each, but this job sees 1"):
        with lease_gpu(["a"], 4, Team(0, 2, 0, 2)):
            pass


def hold(ready):
    with lease_gpu(["a"]):
        ready.set()
        signal.pause()


def test_a_killed_job_frees_its_gpu():
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    job = fork.Process(target=hold, args=(ready,))
    job.start()
    assert ready.wait(10)
    next_job = Job(["a"])
    assert next_job.waits()
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    assert next_job.position() == 0
    next_job.end()
