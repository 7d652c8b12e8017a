"""Published networks: seven formats give spandrel's own output; what does not fit is named."""

import hashlib
import sys

import pytest
import spandrel
import torch
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from spandrel.architectures.DAT import DAT
from spandrel.architectures.DRUNet import DRUNet
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.HAT import HAT
from spandrel.architectures.NAFNet import NAFNet
from spandrel.architectures.SwinIR import SwinIR

from ra.errors import UserError
from ra.models.checkpoints import load_processor, read_header, save_model
from ra.models.processors import build_processor
from ra.models.restorers import start_processor
from ra.models.weights import read_weights

WINDOWS = {"img_size": 16, "embed_dim": 16, "num_heads": [2], "upscale": 2}
NETWORKS = {
    "SwinIR": lambda: SwinIR(**WINDOWS, depths=[2], window_size=8, upsampler="pixelshuffle"),
    "ESRGAN": lambda: ESRGAN(num_filters=8, num_blocks=1, scale=2),
    "NAFNet": lambda: NAFNet(width=4, middle_blk_num=1, enc_blk_nums=[1], dec_blk_nums=[1]),
    "DRUNet": lambda: DRUNet(in_nc=4, out_nc=3, nc=[4, 4, 8, 8], nb=2),
    "HAT": lambda: HAT(**WINDOWS, depths=[2], window_size=4, compress_ratio=2, squeeze_factor=4),
    "DAT": lambda: DAT(**WINDOWS, depth=[2], split_size=[8, 8], expansion_factor=2),
    "Compact": lambda: Compact(num_feat=8, num_conv=2, upscale=2),
}


def published(folder, arch, wrap=lambda state: state, name="net.pth"):
    """(file, state dict) of a network with random weights, also where they begin as zeros."""
    torch.manual_seed(0)
    state = NETWORKS[arch]().state_dict()
    for value in state.values():
        if value.is_floating_point() and not value.any():
            value.normal_(std=0.1)
    torch.save(wrap(state), folder / name)
    return folder / name, state


@pytest.mark.parametrize("arch", NETWORKS)
def test_the_output_is_spandrels_own_and_stays_so_in_our_file(tmp_path, arch):
    file, state = published(tmp_path, arch)
    theirs = spandrel.MAIN_REGISTRY.load(dict(state))
    ours = start_processor(f"spandrel:{file}", theirs.scale, {}).eval()
    images = torch.rand(2, 3, 18, 13)  # of no window's size
    wanted = torch.cat([theirs(one) for one in images.split(1)])
    assert wanted.std() > 0.01
    with torch.no_grad():
        assert torch.allclose(ours(images), wanted, atol=1e-5)
    header = {"kind": "processor", "task": "sr", "init": ours.origin}
    save_model(tmp_path / "ours.safetensors", ours, header)
    again = load_processor(tmp_path / "ours.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images), ours(images))
    assert again.stored["network"] == {"arch": f"spandrel:{arch}", "scale": theirs.scale}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert again.stored["init"] == {"file": "net.pth", "sha256": digest}
    assert str(tmp_path) not in str(read_header(tmp_path / "ours.safetensors"))


def test_the_gradient_reaches_the_weights_also_of_outputs_beyond_the_range(tmp_path):
    file, _ = published(tmp_path, "Compact")
    network = start_processor(f"spandrel:{file}", 2, {})
    (network(torch.ones(1, 3, 8, 8) * 50) - 0.5).square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"params": {}, "params_ema": state},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {f"netG.{k}": v.half() for k, v in state.items()},
    ],
)
def test_weights_are_found_within_a_checkpoint(tmp_path, wrap):
    file, state = published(tmp_path, "Compact", wrap)
    assert read_weights(file).keys() == state.keys()
    start_processor(f"spandrel:{file}", 2, {})


def test_a_published_file_may_be_safetensors(tmp_path):
    _, state = published(tmp_path, "Compact")
    save_file(state, tmp_path / "net.safetensors")
    start_processor(f"spandrel:{tmp_path / 'net.safetensors'}", 2, {})


def test_a_pickle_of_more_than_tensors_is_refused(tmp_path):
    torch.save({"params": Compact(num_feat=8, num_conv=2)}, tmp_path / "net.pth")
    with pytest.raises(
        UserError, match="net.pth: refused: its pickle uses spandrel.*; nothing was executed"
    ):
        start_processor(f"spandrel:{tmp_path / 'net.pth'}", 4, {})


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("arch", "change", "message"),
    [
        ("Compact", lambda s: {**s, "extra": torch.ones(7)}, "1 of its tensors .extra."),
        ("ESRGAN", lambda s: {**s, "extra": torch.ones(7)}, "1 of its tensors .extra."),
        (
            "NAFNet",
            lambda s: without(s, "intro.bias", "ending.bias"),
            "missing, left over or of another size: 2 of its tensors .intro.bias, ending.bias.",
        ),
        ("Compact", lambda s: {"a": torch.ones(1)}, "of no architecture .*SwinIR"),
        ("SwinIR", lambda s: without(s, "conv_first.weight"), "of no architecture"),
        ("Compact", lambda s: s, "RealESRGAN|Compact up-scales by 2, the task by 4"),
        ("Compact", lambda s: [1], "not a checkpoint|not a state dict"),
    ],
)
def test_weights_that_do_not_fit_are_counted_and_named(tmp_path, arch, change, message):
    file, _ = published(tmp_path, arch, change)
    with pytest.raises(UserError, match=f"net.pth: .*({message})"):
        start_processor(f"spandrel:{file}", 4, {})


def test_grey_images_are_not_enough(tmp_path):
    torch.save(
        Compact(num_in_ch=1, num_out_ch=1, num_feat=8, upscale=2).state_dict(), tmp_path / "g.pth"
    )
    with pytest.raises(UserError, match="from 1 to 1 channels; RGB is needed"):
        start_processor(f"spandrel:{tmp_path / 'g.pth'}", 2, {})


def test_an_architecture_without_gradients_is_named(tmp_path, monkeypatch):
    file, _ = published(tmp_path, "Compact")
    monkeypatch.setattr(Compact, "forward", torch.no_grad()(Compact.forward))
    with pytest.raises(UserError, match="net.pth: Compact cannot be trained"):
        start_processor(f"spandrel:{file}", 2, {})
    start_processor(f"spandrel:{file}", 2, {}, train=False)


def test_a_variant_that_its_own_tensors_do_not_tell_is_named(tmp_path):
    how = {"depths": [2], "window_size": 8, "upsampler": "pixelshuffle", "start_unshuffle": 2}
    state = SwinIR(**WINDOWS, **how).state_dict()
    for name in ("weight", "bias"):  # as the unshuffled variant is published
        state[f"conv_first.1.{name}"] = state.pop(f"conv_first.{name}")
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match="a variant of SwinIR that cannot be stored"):
        start_processor(f"spandrel:{tmp_path / 'net.pth'}", 1, {})


def test_without_spandrel_one_line_names_the_extra(tmp_path, monkeypatch):
    file, _ = published(tmp_path, "Compact")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UserError, match="^published .* install the extra `restorers`.*$"):
        start_processor(f"spandrel:{file}", 2, {})


def test_any_architecture_begins_with_given_weights(tmp_path, monkeypatch):
    """Those of our own files and of state dicts; without spandrel."""
    monkeypatch.setitem(sys.modules, "spandrel", None)
    torch.manual_seed(1)
    trained = build_processor("SRResNet", 2, channels=4, blocks=1)
    save_model(tmp_path / "ours.safetensors", trained, {"kind": "processor"})
    torch.save({"params": trained.state_dict()}, tmp_path / "ours.pth")
    for name in ("ours.safetensors", "ours.pth"):
        begun = start_processor("SRResNet", 2, {"channels": 4, "blocks": 1}, tmp_path / name)
        assert begun.origin["file"] == name
        pairs = zip(begun.parameters(), trained.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(UserError, match=r"ours.pth: its weights do not fit .* and 26 more"):
        start_processor("SRResNet", 2, {"channels": 4, "blocks": 2}, tmp_path / "ours.pth")


def test_a_network_that_was_trained_further_is_a_published_one_again(tmp_path):
    file, _ = published(tmp_path, "Compact")
    begun = start_processor(f"spandrel:{file}", 2, {})
    save_model(tmp_path / "ours.safetensors", begun, {"kind": "processor", "task": "sr"})
    again = start_processor(f"spandrel:{tmp_path / 'ours.safetensors'}", 2, {})
    assert again.state_dict().keys() == begun.state_dict().keys()
    start_processor(f"spandrel:{file}", 2, {}, tmp_path / "ours.safetensors")


def test_a_published_architecture_begins_with_other_weights_of_its_own(tmp_path):
    file, _ = published(tmp_path, "Compact")
    torch.manual_seed(5)
    other = Compact(num_feat=8, num_conv=2, upscale=2)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    begun = start_processor(f"spandrel:{file}", 2, {}, tmp_path / "other.pth")
    assert torch.equal(begun.network.body[0].weight, other.body[0].weight)
    assert begun.origin["file"] == "other.pth"
    published(tmp_path, "ESRGAN", name="esrgan.pth")
    with pytest.raises(UserError, match="esrgan.pth: its weights do not fit .* and [0-9]+ more"):
        start_processor(f"spandrel:{file}", 2, {}, tmp_path / "esrgan.pth")
