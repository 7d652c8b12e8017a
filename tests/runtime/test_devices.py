"""Which device a job gets, what it sets on its CPU, and its arithmetic."""

import pytest
import torch

from ra.errors import UserError
from ra.runtime.devices import autocast, use_device
from ra.runtime.distributed import Team
from ra.settings.base import checked
from ra.settings.shared import Machine, Runtime


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with use_device(Machine(device="auto")) as device:
        assert device.type == "cpu"
    with pytest.raises(UserError, match="'cuda' needs a CUDA GPU, and no usable one is here"):
        with use_device(Machine(device="cuda")):
            pass


@pytest.mark.parametrize("name", ["cuda:-1", "cuda:x", "cuda:", "gpu"])
def test_what_is_no_device_is_one_line(name):
    with pytest.raises(UserError, match=f"device: '{name}' should match pattern"):
        checked(Machine, {"device": name})


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    name = "cuda:2"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with use_device(Machine(device="cuda:1")) as device:
        assert device == torch.device("cuda", 1)
    with pytest.raises(UserError, match=f"'{name}' is none of the 2 GPUs, cuda:0 to cuda:1"):
        with use_device(Machine(device=name)):
            pass


def test_a_team_does_not_share_a_named_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="'cuda:0' is one GPU for 2 processes; choose cuda"):
        with use_device(Machine(device="cuda:0"), team=Team(0, 2, 0, 2)):
            pass


def test_a_job_keeps_to_its_threads():
    before = torch.get_num_threads()
    with use_device(Machine(device="cpu", threads=2)):
        assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_fp32_is_fp32_on_a_gpu_too(precision, allowed):
    with use_device(Runtime(device="cpu", precision=precision)):
        assert torch.backends.cudnn.allow_tf32 is allowed
        assert torch.backends.cuda.matmul.allow_tf32 is allowed


def test_precision_is_that_of_the_matrix_products():
    images = torch.rand(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):
            assert (images @ images).dtype == dtype
    with pytest.raises(UserError, match="precision: 'fp8' is none of fp32, tf32, bf16"):
        autocast(torch.device("cpu"), "fp8")
