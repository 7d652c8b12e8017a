"""Who gets which GPU, and what a job sets on its CPU; the GPUs of these tests are names."""

import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest
import torch

from ra.errors import UserError
from ra.runtime.devices import autocast, lease_gpu, use_device, visible_gpus


def test_no_two_jobs_get_one_gpu(tmp_path):
    with ExitStack() as jobs:
        held = [jobs.enter_context(lease_gpu(["4", "7"], folder=tmp_path)) for _ in range(2)]
        assert held == [0, 1]
        with pytest.raises(UserError, match="all 2 places on GPUs 4, 7 are taken"):
            jobs.enter_context(lease_gpu(["4", "7"], folder=tmp_path))
    with lease_gpu(["4", "7"], folder=tmp_path) as position:
        assert position == 0


def test_jobs_that_may_share_spread_over_the_gpus_first(tmp_path):
    with ExitStack() as jobs:
        lease = lambda: jobs.enter_context(lease_gpu(["0", "1"], 2, tmp_path))  # noqa: E731
        assert [lease() for _ in range(4)] == [0, 1, 0, 1]
        with pytest.raises(UserError, match="all 4 places"):
            lease()


def test_another_list_of_gpus_meets_the_same_locks(tmp_path):
    """A cluster's job sees GPU 7 alone; on its machine somebody holds it."""
    with lease_gpu(["4", "7"], folder=tmp_path), lease_gpu(["4", "7"], folder=tmp_path):
        with pytest.raises(UserError), lease_gpu(["7"], folder=tmp_path):
            pass


def hold(folder, ready):
    with lease_gpu(["0"], folder=folder):
        ready.set()
        signal.pause()


def test_a_killed_job_frees_its_gpu(tmp_path):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    job = fork.Process(target=hold, args=(tmp_path, ready))
    job.start()
    assert ready.wait(10)
    with pytest.raises(UserError), lease_gpu(["0"], folder=tmp_path):
        pass
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    with lease_gpu(["0"], folder=tmp_path) as position:
        assert position == 0


def test_a_clusters_choice_of_gpus_is_respected(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8ab1")
    assert visible_gpus() == ["3", "GPU-8ab1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_auto_takes_a_free_gpu_and_gives_it_back(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with use_device("auto") as first, use_device("cuda") as second:
        assert (first, second) == (torch.device("cuda", 0), torch.device("cuda", 1))
        with pytest.raises(UserError, match="GPUs 2, 5 are taken"), use_device("auto"):
            pass
        with use_device("cuda:1") as named, use_device("cpu") as cpu:
            assert (named.index, cpu.type) == (1, "cpu")
    with use_device("auto") as again:
        assert again == torch.device("cuda", 0)


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with use_device("auto") as device:
        assert device.type == "cpu"
    with pytest.raises(UserError, match="'cuda' asked for, but this machine has no usable"):
        with use_device("cuda"):
            pass


def test_a_job_keeps_to_its_threads():
    before = torch.get_num_threads()
    with use_device("cpu", threads=2):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


FAULTS_OF_ANOTHER_PASS = """
import resource, torch
from ra.runtime.devices import use_device
with use_device("cpu"):
    for step in range(24):
        if step == 20:  # by then a freed piece is found that is large enough
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(2**24).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_used_again():
    """Each page that the kernel clears is a minor fault; 64 MB are 16,384 pages.

    In a process of its own, as a job is: what other tests left behind is not part of it.
    """
    run = subprocess.run([sys.executable, "-c", FAULTS_OF_ANOTHER_PASS], capture_output=True)
    assert int(run.stdout) < 16_384, run.stderr


def test_precision_is_that_of_the_matrix_products():
    images = torch.rand(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):
            assert (images @ images).dtype == dtype
    with pytest.raises(UserError, match="precision: 'fp8' is neither fp32 nor bf16"):
        autocast(torch.device("cpu"), "fp8")
