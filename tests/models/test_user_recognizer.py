"""A user's own recognizer: state dict, TorchScript, exported program, and what can be wrong."""

import argparse
import os
import pathlib
import types
import zipfile

import numpy as np
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import save_file
from torch import nn

from ra.errors import UserError
from ra.models.checkpoints import load_recognizer, save_model
from ra.models.fixed import pretrained_recognizer
from ra.models.recognizers import freeze
from ra.models.user_recognizer import load_user_recognizer

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
NAMES = ["cat", "cow", "dog"]


class Tiny(nn.Module):
    """(N, 3, H, W) -> (N, 3): the mean of each colour, and a batch norm to be spoiled."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images):
        return self.norm(images.mean(dim=(2, 3)))


def describe(folder, **settings):
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({"num_classes": 3, **settings}))
    return path


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    return torchvision.models.squeezenet1_1(num_classes=3).eval()


def write_state(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_state_dict_with_its_normalisation(tmp_path, squeezenet, name):
    write_state(tmp_path / name, squeezenet.state_dict())
    path = describe(tmp_path, arch="squeezenet1_1", state_dict=name, mean=[0.5] * 3, std=[0.25] * 3)
    recognizer = load_user_recognizer(path).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(recognizer(images), squeezenet((images - 0.5) / 0.25))
    save_model(tmp_path / "r.safetensors", recognizer, {"kind": "recognizer"})
    again = load_recognizer(tmp_path / "r.safetensors").eval()
    assert torch.equal(again(images), recognizer(images))


def script(path):
    torch.jit.script(Tiny().eval()).save(str(path))


def export(path):
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(
        Tiny().eval(), (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)


@pytest.mark.parametrize(("kind", "write"), [("torchscript", script), ("exported", export)])
def test_a_program_is_frozen_and_lets_gradients_through(tmp_path, kind, write):
    write(tmp_path / "r.pt2")
    path = describe(tmp_path, **{kind: "r.pt2"}, input_size=16, classes=NAMES)
    recognizer = freeze(load_user_recognizer(path)).train()
    images = torch.rand(5, 3, 20, 16, requires_grad=True)
    before = recognizer(images)
    before.sum().backward()
    assert before.shape == (5, 3) and images.grad.abs().sum() > 0
    assert torch.equal(recognizer(images), before)
    with pytest.raises(UserError, match="a program is not copied"):
        save_model(tmp_path / "r.safetensors", recognizer, {"kind": "recognizer"})


def test_logits_are_found_by_the_names_in_the_yaml(tmp_path, squeezenet):
    write_state(tmp_path / "w.pth", squeezenet.state_dict())
    given = {"arch": "squeezenet1_1", "state_dict": "w.pth"}
    path = describe(tmp_path, **given, classes=NAMES)
    assert pretrained_recognizer(str(path), ["dog", "cat"]).class_index.tolist() == [2, 0]
    with pytest.raises(UserError, match=r'class folders \["pig"\] are not in .*r.yaml'):
        pretrained_recognizer(str(path), ["pig"])
    path = describe(tmp_path, **given)
    assert len(pretrained_recognizer(str(path), NAMES).class_index) == 0
    with pytest.raises(UserError, match="has 3 classes, the data 2; add classes:"):
        pretrained_recognizer(str(path), ["dog", "cat"])


def good(state):
    return state


def incomplete(state):
    return {name: value for name, value in state.items() if name != "features.0.weight"}


def spoiled(state):
    return state | {"features.0.weight": state["features.0.weight"] * float("nan")}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (incomplete, {}, "w.pth: .*r.yaml: features.0.weight is missing"),
        (spoiled, {}, "w.pth: NaN or infinite weights in features.0.weight"),
        (good, {"num_classes": 5}, r"w.pth: .*classifier.1.weight is \(3, .*expected \(5, "),
        (good, {"num_classes": "three"}, "r.yaml: num_classes: 'three' should be a valid integer"),
        (
            good,
            {"num_classes": 10**24},
            "num_classes: 1000000000000000000000000 should be less than",
        ),
        (good, {"num_classes": True}, "num_classes: True is no number"),
        (good, {"num_classes": 900_000}, r"w.pth: .*expected \(900000, "),
        (good, {"input_size": 10**6}, "input_size: 1000000 should be less than or equal to 4096"),
        (good, {"arch": "vit_b_16", "input_size": 7}, "vit_b_16: input_size 7 does not fit"),
        (good, {"arch": "squeezenet1_9"}, "unknown recognizer 'squeezenet1_9'; nearest: squeez"),
        (good, {"archh": "x"}, "r.yaml: unknown key 'archh'; nearest: arch"),
        (good, {"exported": "x"}, "give one of state_dict, torchscript, exported; there are 2"),
        (good, {"state_dict": "v.pth"}, "r.yaml: state_dict: .*v.pth: no such file"),
        (good, {"mean": [1, 2]}, "r.yaml: mean.2: missing"),
        (good, {"std": [1, 0, 1]}, "r.yaml: std.1: 0 should be greater than 0"),
        (good, {"input_size": [8, 8]}, r"input_size: \[8, 8\] should be a valid integer"),
        (good, {"classes": 3}, "r.yaml: classes: should be names in the order of the logits, or"),
        (good, {"classes": {"cat": 3}}, "classes names logit 3, but num_classes is 3"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, squeezenet, change, settings, message):
    write_state(tmp_path / "w.pth", change(squeezenet.state_dict()))
    path = describe(tmp_path, **{"arch": "squeezenet1_1", "state_dict": "w.pth"} | settings)
    with pytest.raises(UserError, match=message):
        load_user_recognizer(path)


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(UserError, match="r.yaml: no such recognizer file"):
        load_user_recognizer(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("a: [")
    with pytest.raises(UserError, match="r.yaml, line 1: not valid YAML"):
        load_user_recognizer(tmp_path / "r.yaml")
    (tmp_path / "junk").write_bytes(b"junk")
    for kind in ("torchscript", "exported"):
        with pytest.raises(UserError, match=f"junk: not a {kind} file"):
            load_user_recognizer(describe(tmp_path, **{kind: "junk"}))


def test_a_program_with_other_answers_is_named(tmp_path):
    script(tmp_path / "r.pt")
    with pytest.raises(UserError, match=r"returns \(2, 3\) for two images; .* has num_classes 4"):
        load_user_recognizer(describe(tmp_path, torchscript="r.pt", num_classes=4))


def test_a_hostile_state_dict_is_not_executed(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save(Hostile(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth: refused: its pickle uses (posix|nt).system"):
        load_user_recognizer(describe(tmp_path, arch="resnet18", state_dict="w.pth"))
    assert not (tmp_path / "executed").exists()


def training(state):
    """What scripts keep for their next start: optimiser, schedule, random state, other dtypes."""
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.rand(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3])
    kept = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    others = [torch.zeros(0), torch.ones(2).bfloat16(), torch.tensor(1.0).expand(3), torch.float16]
    return {"state_dict": state, "random": torch.get_rng_state(), "others": others, **kept}


CHECKPOINTS = {
    "a whole training": training,
    "arguments beside it": lambda state: {
        "state_dict": state,
        "args": argparse.Namespace(
            lr=0.1, out=pathlib.PosixPath("x"), more=types.SimpleNamespace()
        ),
        "best": np.float64(81.5),
        "epoch": 3,
    },
    "only the average": lambda state: {"state_dict_ema": state, "arch": "squeezenet1_1"},
    "a name beside it": lambda state: {"model": "squeezenet1_1", "model_ema": {"model": state}},
    "compiled, distributed": lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
    "of a training class": lambda state: {
        "state_dict": {f"model.{k}": v for k, v in state.items()},
        "args": argparse.Namespace(model="squeezenet1_1"),
    },
}


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_of_a_training_script(tmp_path, squeezenet, case, as_zip):
    checkpoint = CHECKPOINTS[case](squeezenet.state_dict())
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=as_zip)
    recognizer = load_user_recognizer(describe(tmp_path, arch="squeezenet1_1", state_dict="w.pth"))
    for name, value in squeezenet.state_dict().items():
        assert torch.equal(recognizer.classifier.state_dict()[name], value)


def test_two_networks_in_one_state_dict_are_not_mixed(tmp_path, squeezenet):
    state = squeezenet.state_dict()
    torch.save({**state, **{f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth: holds features.0.weight twice"):
        load_user_recognizer(describe(tmp_path, arch="squeezenet1_1", state_dict="w.pth"))


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    checkpoint = {}
    checkpoint["model"] = checkpoint
    torch.save(checkpoint, tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth: not a state dict of tensors"):
        load_user_recognizer(describe(tmp_path, arch="squeezenet1_1", state_dict="w.pth"))


@pytest.mark.parametrize("text", ["[" * 2000, "arch: !!bool maybe", "a: !!timestamp soon"])
def test_yaml_that_cannot_be_read_is_one_line(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=r"r.yaml(, line \d+)?: "):
        load_user_recognizer(tmp_path / "r.yaml")


def test_a_compressed_checkpoint_is_refused(tmp_path):
    """A few kilobytes of it would be gigabytes."""
    torch.save({"x": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain:
        with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name))
    with pytest.raises(UserError, match="w.pth: damaged, .*compressed records"):
        load_user_recognizer(describe(tmp_path, arch="squeezenet1_1", state_dict="w.pth"))


def test_a_whole_pickled_network_is_refused_by_its_class(tmp_path, squeezenet):
    torch.save(squeezenet, tmp_path / "w.pth")
    with pytest.raises(UserError, match="uses torchvision.models.squeezenet.SqueezeNet, and only"):
        load_user_recognizer(describe(tmp_path, arch="squeezenet1_1", state_dict="w.pth"))
