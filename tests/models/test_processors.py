"""Shapes, ranges and hand-counted parameters of processors and transformers."""

import pytest
import torch

from ra.data.degradations import no_processing
from ra.errors import UserError
from ra.models.checkpoints import load_processor, save_model
from ra.models.processors import build_processor


@pytest.mark.parametrize(
    ("arch", "scale", "sizes"),
    [
        ("SRResNet", 4, {"channels": 4, "blocks": 2}),
        ("SRResNet", 1, {}),
        ("SRResNet", 2, {"channels": 4, "blocks": 1, "skip": True, "padding": "reflect"}),
        ("SRResNet", 3, {"channels": 4, "blocks": 1}),
        ("SRResNet", 6, {"channels": 4, "blocks": 1, "skip": True}),
        ("SRDenseNet", 3, {"channels": 2, "blocks": 1}),
        ("SRDenseNet", 4, {"channels": 2, "blocks": 2}),
        ("SRDenseNet", 2, {"channels": 2, "blocks": 1}),
        ("pix2pix", 1, {"channels": 4, "blocks": 1}),
        ("residual", 1, {"channels": 4, "blocks": 2}),
        ("residual", 1, {"channels": 4, "blocks": 2, "padding": "replicate"}),
    ],
)
def test_output_is_an_image_of_the_targets_size(arch, scale, sizes):
    output = build_processor(arch, scale, **sizes)(torch.rand(2, 3, 16, 20))
    assert output.shape == (2, 3, 16 * scale, 20 * scale)
    assert output.min() >= 0 and output.max() <= 1


def test_srresnet_is_the_papers_by_count():
    conv9 = 9 * 9 * 3 * 64
    block = 2 * (9 * 64 * 64 + 64) + 2 * 2 * 64 + 1  # two conv3, two BN, a PReLU
    upsampler = 9 * 64 * 256 + 256 + 1
    wanted = (conv9 + 64 + 1) + 5 * block + (9 * 64 * 64 + 64 + 1) + 2 * upsampler + conv9 + 3
    assert sum(p.numel() for p in build_processor("SRResNet", 4).parameters()) == wanted


def test_a_factor_of_three_is_one_pixel_shuffle():
    shuffles = [
        part.upscale_factor
        for part in build_processor("SRResNet", 3).modules()
        if isinstance(part, torch.nn.PixelShuffle)
    ]
    assert shuffles == [3]


def test_residual_begins_as_the_identity_and_learns():
    network, x = build_processor("residual", 1, channels=4), torch.rand(2, 3, 8, 8)
    assert torch.equal(network(x), x)
    network(x).square().sum().backward()
    assert network.body[-1].weight.grad.abs().sum() > 0


def test_srresnet_has_the_released_names():
    names = {name.split(".")[0] for name in build_processor("SRResNet", 4).state_dict()}
    assert names == {f"block{number}" for number in range(1, 9)}


def test_pix2pix_has_six_blocks_between_two_strided_stages():
    body = build_processor("pix2pix", 1, channels=2).body
    assert sum(type(part).__name__ == "PaddedBlock" for part in body) == 6
    assert sum(getattr(part, "stride", None) == (2, 2) for part in body) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("SRResnet", 4, {}), "unknown architecture 'SRResnet'; nearest: SRResNet"),
        (("pix2pix", 4, {}), "pix2pix does not up-scale"),
        (("residual", 2, {}), "residual does not up-scale"),
        (("SRDenseNet", 1, {}), "SRDenseNet only up-scales"),
        (("SRResNet", 5, {}), "factor 5 is not a product of twos and threes"),
        (
            ("SRResNet", 4, {"chanels": 3}),
            "SRResNet: chanels: architecture SRResNet has no such setting; it has channels",
        ),
    ],
)
def test_what_cannot_be_built_is_named(call, message):
    arch, scale, sizes = call
    with pytest.raises(UserError, match=message):
        build_processor(arch, scale, **sizes)


def test_pix2pix_names_sizes_it_cannot_halve_twice():
    with pytest.raises(UserError, match="18x16 px is not divisible by 4"):
        build_processor("pix2pix", 1, channels=2, blocks=1)(torch.rand(1, 3, 18, 16))


def test_srdensenet_is_the_papers_by_count():
    layers = sum(9 * 16 * (1 + before) * 16 + 16 for before in range(64))
    ends = (9 * 3 * 16 + 16) + (9 * 128 * 3 + 3)
    wanted = ends + layers + (65 * 16 * 128 + 128) + 2 * (16 * 128 * 128 + 128)
    assert sum(p.numel() for p in build_processor("SRDenseNet", 4).parameters()) == wanted


def test_pix2pix_is_the_released_scripts_by_count():
    down = 49 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 256 + 2 * (64 + 128 + 256)
    blocks = 6 * 2 * (9 * 256 * 256 + 2 * 256)
    up = 9 * 256 * 128 + 9 * 128 * 64 + 2 * (128 + 64) + 49 * 64 * 3 + 3
    wanted = down + blocks + up
    assert sum(p.numel() for p in build_processor("pix2pix", 1).parameters()) == wanted


@pytest.mark.parametrize("value", [0, -4, 2.5])
def test_sizes_are_whole_numbers_above_zero(value):
    with pytest.raises(UserError, match=f"SRResNet: channels: {value} should be"):
        build_processor("SRResNet", 4, channels=value)


def test_pix2pix_names_images_that_are_too_small():
    network = build_processor("pix2pix", 1, channels=2, blocks=1).eval()
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match="4x8 px is too small; at least 8x8"):
        network(torch.rand(1, 3, 4, 8))


SMALL = {"channels": 4, "blocks": 1}


@pytest.mark.parametrize("scale", [1, 4])
def test_with_a_skip_srresnet_begins_as_no_processing(scale):
    network, x = build_processor("SRResNet", scale, **SMALL, skip=True), torch.rand(2, 3, 9, 8)
    assert torch.equal(network(x), no_processing(x, scale))


def test_with_a_skip_the_gradient_passes_the_clamp():
    network, x = build_processor("SRResNet", 2, **SMALL, skip=True), torch.rand(1, 3, 8, 8)
    last = network.block4[-1]
    with torch.no_grad():
        last.bias.fill_(30)
    output = network(x)
    assert torch.equal(output, torch.ones_like(output))
    output.sum().backward()
    assert torch.allclose(last.bias.grad, torch.full((3,), 0.3 * 16 * 16))


def test_skip_and_padding_change_no_weight_and_are_off_by_default():
    """Released checkpoints fit, and what is trained without them is as it was."""
    states = []
    for settings in ({}, {"skip": False, "padding": "zeros"}, {"padding": "replicate"}):
        torch.manual_seed(0)
        states.append(build_processor("SRResNet", 2, **SMALL, **settings).state_dict())
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


@pytest.mark.parametrize("arch", ["SRResNet", "residual"])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
def test_only_zeros_frame_a_plain_image(arch, padding):
    torch.manual_seed(0)
    network = build_processor(arch, 1, **SMALL, padding=padding).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.weight.normal_(std=0.02)
        output = network(torch.full((1, 3, 24, 24), 0.5))
    middle = output[..., 12:13, 12:13]
    assert torch.allclose(output, middle.expand_as(output), atol=1e-5) == (padding != "zeros")


def test_skip_and_padding_come_back_from_a_file(tmp_path):
    settings = {"skip": True, "padding": "replicate"}
    network = build_processor("SRResNet", 2, **SMALL, **settings).eval()
    torch.nn.init.normal_(network.block4[-1].weight, std=0.1)
    save_model(tmp_path / "p.safetensors", network, {"kind": "processor"})
    x = torch.rand(1, 3, 6, 6)
    assert torch.equal(load_processor(tmp_path / "p.safetensors")(x), network(x))


def test_an_image_that_is_too_small_to_reflect_is_named():
    network = build_processor("SRResNet", 1, **SMALL, padding="reflect").eval()
    assert network(torch.rand(1, 3, 5, 5)).shape == (1, 3, 5, 5)
    with pytest.raises(UserError, match="SRResNet: 4x5 px is too small to reflect"):
        network(torch.rand(1, 3, 4, 5))
