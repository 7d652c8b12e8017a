"""A team of two processes trains what one process does with the same global batch."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ra.errors import UserError
from ra.runtime.distributed import SharedBatchNorm, Team, join, share_batch_norm


def command(folder, out, *more, processes=1):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    # "--": torchrun would take --l for an abbreviation of an option of its own.
    words = [*launcher, "-m", "--", "ra"] if processes > 1 else ["-m", "ra"]
    words += ["train", "--data", folder, "--task", "dn", "--mode", "plain", "--l", 0]
    words += ["--channels", 4, "--blocks", 1, "--threads", 1]
    words += ["--batch-size", 6, "--epochs", 2, "--lr", 0.1, "--device", "cpu"]
    # Adam would blow up the rounding in gradients that are zero (biases before batch norm).
    words += ["--optimizer", "sgd"]
    return [sys.executable, *(str(w) for w in [*words, "--save-dir", out, *more])]


@pytest.mark.slow
def test_two_processes_train_what_one_does(prepared, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    jobs = [
        subprocess.Popen(
            command(prepared, tmp_path / str(n), processes=n),
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in (1, 2)
    ]
    for job in jobs:
        said = job.communicate()[1]
        assert job.returncode == 0, said[-3000:]
    curves = [pd.read_csv(tmp_path / f"{n}/training.csv").image for n in (1, 2)]
    assert len(curves[0]) == 2 and curves[1].tolist() == pytest.approx(curves[0], rel=1e-5)
    one, two = (load_file(tmp_path / f"{n}/processor.safetensors") for n in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_team_stops_together_and_resumes(prepared, tmp_path):
    more = ("--epochs", 4000, "--checkpoint-seconds", 0)
    job = subprocess.Popen(
        command(prepared, tmp_path, *more, processes=2), stderr=subprocess.PIPE, text=True
    )
    begin = time.monotonic()
    while not (tmp_path / "state.pt").exists() and time.monotonic() - begin < 60:
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=60)[1]
    assert job.returncode != 0 and "run the same command to go on" in said
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] > 0 and json.loads(state["settings"])["epochs"] == 4000


def test_a_member_dies_with_its_launcher(monkeypatch):
    """A launcher that is killed (out of memory) leaves nobody at work in the folder."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()

    def join_and_wait(*_):
        there.send(os.getpid())
        time.sleep(60)

    def launch():
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setattr("torch.distributed.init_process_group", join_and_wait)
        if os.fork() == 0:
            with join():
                pass
        time.sleep(60)

    launcher = fork.Process(target=launch)
    launcher.start()
    member = psutil.Process(here.recv())
    launcher.kill()
    assert psutil.wait_procs([member], timeout=10)[1] == []
    launcher.join()


@pytest.mark.parametrize(("centre", "deviation"), [(0.5, 0.3), (5000.0, 1.0), (-1e5, 10.0)])
def test_shared_batch_norm_alone_is_batch_norm(monkeypatch, centre, deviation):
    """Also where the mean is large: its square would leave no digit of the variance."""
    monkeypatch.setattr("ra.runtime.distributed.all_reduce", lambda parts: parts)
    torch.manual_seed(0)
    ours = share_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))[0]
    assert type(ours) is SharedBatchNorm
    theirs = nn.BatchNorm2d(3).double()
    for one in (ours, theirs):
        nn.init.constant_(one.weight, 1.5)
        nn.init.constant_(one.bias, 0.25)
    x = (centre + deviation * torch.randn(4, 3, 5, 6)).requires_grad_()
    y = x.detach().double().requires_grad_()
    direction = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(ours(x), theirs(y).float(), atol=1e-4, rtol=1e-4)
    (ours(x) * direction).sum().backward()
    (theirs(y) * direction).sum().backward()
    scale = y.grad.abs().max().item()
    torch.testing.assert_close(x.grad, y.grad.float(), atol=1e-4 * scale, rtol=1e-4)
    for name in ("running_mean", "running_var"):
        expected = theirs.state_dict()[name].float()
        torch.testing.assert_close(ours.state_dict()[name], expected, rtol=1e-4, atol=1e-5)
    for name, value in theirs.named_parameters():
        grad = ours.get_parameter(name).grad
        torch.testing.assert_close(grad, value.grad.float(), rtol=1e-4, atol=1e-3)


def test_on_gpus_batch_norm_is_shared_by_torch():
    class OnGpu(nn.Sequential):
        def parameters(self, recurse=True):
            return iter([SimpleNamespace(is_cuda=True)])

    assert type(share_batch_norm(OnGpu(nn.BatchNorm2d(3)))[0]) is nn.SyncBatchNorm


def test_a_batch_without_an_image_for_everyone_is_refused():
    with pytest.raises(
        UserError, match="batch_size: 4 leaves 2 of 10 images to a step, fewer than"
    ):
        Team(0, 3).check(10, 4)
    Team(0, 2).check(10, 4)
    Team(0, 2).check(9, 4)  # batches of 4 and 5
    with pytest.raises(UserError, match="leaves 1 of 1 images"):
        Team(0, 2).check(1, 4)
