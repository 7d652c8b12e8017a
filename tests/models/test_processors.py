"""Shapes, ranges and hand-counted parameters of P and T."""

import pytest
import torch

from ra.errors import UserError
from ra.models.processors import build_processor


@pytest.mark.parametrize(
    ("arch", "scale", "sizes"),
    [
        ("SRResNet", 4, {"channels": 4, "blocks": 2}),
        ("SRResNet", 1, {}),
        ("SRDenseNet", 4, {"channels": 2, "blocks": 2}),
        ("SRDenseNet", 2, {"channels": 2, "blocks": 1}),
        ("pix2pix", 1, {"channels": 4, "blocks": 1}),
        ("residual", 1, {"channels": 4, "blocks": 2}),
    ],
)
def test_output_is_an_image_of_the_targets_size(arch, scale, sizes):
    output = build_processor(arch, scale, **sizes)(torch.rand(2, 3, 16, 20))
    assert output.shape == (2, 3, 16 * scale, 20 * scale)
    assert 0 <= output.min() and output.max() <= 1


def test_srresnet_is_the_papers_by_count():
    conv9 = 9 * 9 * 3 * 64
    block = 2 * (9 * 64 * 64 + 64) + 2 * 2 * 64 + 1  # two conv3, two BN, a PReLU
    upsampler = 9 * 64 * 256 + 256 + 1
    wanted = (conv9 + 64 + 1) + 5 * block + (9 * 64 * 64 + 64 + 1) + 2 * upsampler + conv9 + 3
    assert sum(p.numel() for p in build_processor("SRResNet", 4).parameters()) == wanted


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
        (("SRResNet", 3, {}), "factor 3 is not a power of two"),
        (("SRResNet", 4, {"chanels": 3}), "unknown size of SRResNet 'chanels'; nearest: channels"),
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
    with pytest.raises(UserError, match=f"SRResNet: channels is {value}; it must be a whole"):
        build_processor("SRResNet", 4, channels=value)


def test_pix2pix_names_images_that_are_too_small():
    network = build_processor("pix2pix", 1, channels=2, blocks=1).eval()
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match="4x8 px is too small; at least 8x8"):
        network(torch.rand(1, 3, 4, 8))
