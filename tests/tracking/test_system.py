"""Samples of the machine: at least one for each job, and none that could stop it."""

import os
import sys
from types import SimpleNamespace

import psutil
import pytest

from ra import system
from ra.system import Sampler, sample


def test_a_short_job_has_one_sample():
    logged = []
    sampler = Sampler(lambda metrics, step: logged.append((step, metrics)))
    sampler.start()
    sampler.stop()
    ((step, metrics),) = logged
    assert step == 0 and all(key.startswith("system/") for key in metrics)
    resident = psutil.Process().memory_info().rss / 1e6
    assert metrics["system/process_memory_megabytes"] == pytest.approx(resident, rel=0.2)


def test_a_long_job_is_sampled_again_and_again(monkeypatch):
    monkeypatch.setattr(system, "EVERY_S", 0.01)
    logged = []
    sampler = Sampler(lambda metrics, step: logged.append(step))
    sampler.start()
    while len(logged) < 3:
        sampler._thread.join(0.01)
    sampler.stop()
    assert logged == list(range(len(logged)))


def test_a_sampler_that_never_began_says_nothing():
    logged = []
    Sampler(lambda metrics, step: logged.append(step)).stop()
    assert logged == []


def test_what_cannot_be_read_is_left_out(monkeypatch):
    def denied():
        raise psutil.AccessDenied(os.getpid())

    monkeypatch.setattr(psutil, "virtual_memory", denied)
    logged = []
    sampler = Sampler(lambda metrics, step: logged.append(step))
    sampler.start()
    sampler.stop()
    assert logged == []


def test_gpus_in_use_are_told(monkeypatch):
    """A stand-in for CUDA: the second GPU is another job's."""
    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_reserved=lambda gpu: [3_000_000, 0][gpu],
        mem_get_info=lambda gpu: (60_000_000, 80_000_000),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    metrics = sample(psutil.Process())
    assert metrics["gpu_0_memory_usage_megabytes"] == 20
    assert metrics["gpu_0_process_memory_megabytes"] == 3
    assert not any(key.startswith("gpu_1") for key in metrics)
