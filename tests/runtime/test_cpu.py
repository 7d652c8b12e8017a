"""Each faster module is torch's own: the same output, the same gradients, the same state."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from ra.models.architectures import build_recognizer
from ra.models.processors import build_processor
from ra.models.recognizers import freeze
from ra.runtime.cpu import (
    AVAILABLE,
    FirstConv2d,
    NarrowConv2d,
    PackedConv2d,
    VectorPReLU,
)
from ra.runtime.devices import placed

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="torch's own modules stay on this machine")

# (faster class, in, out, kernel, stride, padding, dilation, side of the image, frozen)
CONVOLUTIONS = [
    (FirstConv2d, 3, 64, 7, 2, 3, 1, 32, True),
    (FirstConv2d, 3, 64, 7, 2, 3, 1, 31, True),  # no whole blocks
    (FirstConv2d, 3, 24, 3, 2, 1, 1, 16, True),
    (FirstConv2d, 3, 8, 5, 2, 2, 1, 24, True),
    (FirstConv2d, 3, 8, 3, 2, 0, 1, 17, True),
    (FirstConv2d, 1, 8, 4, 4, 0, 1, 16, True),
    (FirstConv2d, 1, 8, 6, 3, 2, 1, 27, True),
    (PackedConv2d, 64, 128, 3, 1, 1, 1, 9, True),
    (PackedConv2d, 64, 128, 3, 2, 1, 1, 9, True),
    (PackedConv2d, 64, 128, 3, 2, 1, 1, 8, True),
    (PackedConv2d, 128, 64, 3, 1, 2, 2, 9, True),
    (PackedConv2d, 512, 256, 1, 2, 0, 1, 5, True),
    (NarrowConv2d, 16, 3, 9, 1, 4, 1, 32, False),
    (NarrowConv2d, 16, 3, 9, 1, 4, 1, 30, False),  # no whole groups of neighbours
    (NarrowConv2d, 8, 4, 3, 1, 1, 1, 16, False),
    (NarrowConv2d, 8, 1, (3, 5), 1, (1, 2), 1, 16, False),
]


def both(module: nn.Module, images: torch.Tensor, bf16: bool = False):
    """Output and gradients (at the images, then at the parameters) of ``module`` and its twin."""
    found = []
    for one in (module.to(memory_format=torch.channels_last), placed(deepcopy(module), CPU)):
        given = images.clone().to(memory_format=torch.channels_last).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = one(given)
        output.backward(torch.linspace(-1, 2, output.numel()).view_as(output).to(output.dtype))
        gradients = [p.grad for p in one.parameters() if p.requires_grad]
        found.append([output.detach(), given.grad, *gradients])
    return zip(*found, strict=True)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    """Beside the largest values; what is 0 but for rounding (a bias before a batch norm) is not."""
    return ours.dtype == theirs.dtype and (ours - theirs).norm() <= tolerance * max(
        theirs.norm(), 1
    )


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_convolution_is_torchs_own(case, bf16):
    kind, before, after, kernel, stride, padding, dilation, side, frozen = case
    torch.manual_seed(0)
    module = nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=stride == 1)
    module.requires_grad_(not frozen)
    assert type(placed(deepcopy(module), CPU)) is kind
    for theirs, ours in both(module, torch.randn(2, before, side, side), bf16):
        assert close(ours, theirs, 2e-2 if bf16 else 1e-5)


@pytest.mark.parametrize("padding", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("side", [32, 30])
def test_a_narrow_convolution_continues_images_as_torchs_own_does(padding, side):
    torch.manual_seed(0)
    module = nn.Conv2d(16, 3, 9, padding=4, padding_mode=padding)
    assert type(placed(deepcopy(module), CPU)) is NarrowConv2d
    for theirs, ours in both(module, torch.randn(2, 16, side, side)):
        assert close(ours, theirs, 1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.1])
def test_prelu_is_torchs_own(bf16, slope):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(init=slope))
    assert type(placed(deepcopy(module), CPU)[1]) is VectorPReLU
    for theirs, ours in both(module, torch.randn(2, 3, 8, 8), bf16):
        assert close(ours, theirs, 2e-2 if bf16 else 1e-5)


def test_prelu_keeps_no_tensor_of_its_own():
    """Its result, which the next layer keeps as well, does for the gradient."""
    kept = []
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = placed(nn.PReLU(), CPU)(x * 1)
    assert [t.data_ptr() for t in kept if t.numel() > 1] == [y.data_ptr()]


@pytest.mark.parametrize("arch", ["resnet18", "densenet121", "vgg11_bn", "googlenet"])
def test_a_frozen_recognizer_gives_the_same_logits_and_gradients(arch):
    torch.manual_seed(0)
    recognizer = freeze(build_recognizer(arch, 5))
    for theirs, ours in both(recognizer, torch.rand(2, 3, 32, 32)):
        assert close(ours, theirs, 1e-4)


@pytest.mark.parametrize(("arch", "scale"), [("SRResNet", 4), ("SRResNet", 1), ("residual", 1)])
def test_a_processor_gives_the_same_output_and_gradients(arch, scale):
    torch.manual_seed(0)
    processor = build_processor(arch, scale, channels=8, blocks=2)
    for theirs, ours in both(processor, torch.rand(2, 3, 8, 8)):
        assert close(ours, theirs, 1e-4)


@pytest.mark.parametrize("case", [CONVOLUTIONS[k] for k in (0, 8, 12, 15)], ids=str)
def test_gradients_can_be_differentiated(case):
    """As a gradient penalty does: an objective of a user's may."""
    _, before, after, kernel, stride, padding, dilation, side, frozen = case
    torch.manual_seed(0)
    convolution = nn.Conv2d(before, after, kernel, stride, padding, dilation)
    module = nn.Sequential(convolution.requires_grad_(not frozen), nn.PReLU())
    found = []
    for one in (module, placed(deepcopy(module), CPU)):
        images = torch.linspace(-1, 1, before * side**2).view(1, before, side, side)
        images.requires_grad_(True)
        gradient = torch.autograd.grad(one(images).square().sum(), images, create_graph=True)[0]
        gradient.square().sum().backward()
        found.append([images.grad, *(p.grad for p in one.parameters() if p.requires_grad)])
    for theirs, ours in zip(*found, strict=True):
        assert close(ours, theirs, 1e-4)


def test_what_learns_is_not_packed():
    recognizer = placed(build_recognizer("resnet18", 5), CPU)
    assert not any(isinstance(part, PackedConv2d) for part in recognizer.modules())


def test_a_packed_convolution_that_learns_again_uses_its_weights():
    module = placed(nn.Conv2d(64, 128, 3).requires_grad_(False), CPU)
    images = torch.rand(1, 64, 5, 5)
    before = module(images)
    module.requires_grad_(True)
    module(images).sum().backward()
    with torch.no_grad():
        module.weight.sub_(module.weight.grad)
    assert not torch.allclose(module(images), before)


def test_new_weights_are_packed_anew():
    module = placed(nn.Conv2d(64, 128, 3).requires_grad_(False), CPU)
    images = torch.rand(1, 64, 5, 5)
    before = module(images)
    module.load_state_dict({name: 2 * value for name, value in module.state_dict().items()})
    assert torch.allclose(module(images), 2 * before, atol=1e-4)
    assert torch.allclose(module.double()(images.double()).float(), 2 * before, atol=1e-4)


def test_copies_and_states_are_those_of_torch():
    plain = freeze(build_recognizer("resnet18", 5))
    recognizer = placed(deepcopy(plain), CPU)
    images = torch.rand(1, 3, 32, 32)
    answer = recognizer(images)
    assert torch.equal(deepcopy(recognizer)(images), answer)
    assert recognizer.state_dict().keys() == plain.state_dict().keys()


def test_weights_that_were_packed_in_inference_serve_a_training():
    recognizer = placed(freeze(build_recognizer("resnet18", 5)), CPU)
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        recognizer(images)
    given = images.clone().requires_grad_()
    recognizer(given).sum().backward()
    assert given.grad.abs().sum() > 0


def test_programs_stay_as_they_are():
    program = torch.jit.trace(nn.Conv2d(64, 128, 3), torch.rand(1, 64, 5, 5))
    assert placed(program, CPU) is program
