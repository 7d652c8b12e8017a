"""A CLIP model of open_clip as a recognizer: logits, gradients, devices, and what can be wrong."""

import json
import sys

import pytest
import torch
import yaml
from helpers import TINY_CLIP

from ra.cli import main
from ra.errors import UserError
from ra.models.recognizers import freeze
from ra.models.user_recognizer import load_user_recognizer
from ra.models.zero_shot import read_names

TEMPLATES = ["a photo of a {}.", "a drawing of a {}."]


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    """The package, with a model that is small enough for a test."""
    package = pytest.importorskip("open_clip")  # of the extra zero-shot, and of requirements.lock
    config = tmp_path_factory.mktemp("configs") / "tiny-clip.json"
    config.write_text(json.dumps(TINY_CLIP))
    package.add_model_config(config)
    return package


def words(folder, pretrained="none", model="tiny-clip"):
    (folder / "names.txt").write_text("cat\nn02510455: giant panda\n\ndog\n")
    given = ["--model", model, "--pretrained", pretrained, "--classes", folder / "names.txt"]
    return [str(w) for w in ["export-zero-shot", *given, "--save-dir", folder / "clip"]]


@pytest.fixture(scope="module")
def exported(open_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert main([*words(folder), "--template", *TEMPLATES]) == 0
    return folder / "clip/recognizer.yaml"


def test_logits_are_those_of_clip_with_the_mean_over_the_templates(open_clip, exported):
    torch.manual_seed(0)  # as the command does before random weights
    clip = open_clip.create_model("tiny-clip", pretrained_text=False).eval()
    images, size = torch.rand(5, 3, 16, 16), (1, 3, 1, 1)
    described = open_clip.get_model_preprocess_cfg(clip)
    mean, std = (torch.tensor(described[key]).view(size) for key in ("mean", "std"))
    with torch.no_grad():
        features = clip.encode_image((images - mean) / std, normalize=True)
        texts = []
        for name in ("cat", "giant panda", "dog"):
            tokens = open_clip.get_tokenizer("tiny-clip")([t.format(name) for t in TEMPLATES])
            mean_text = clip.encode_text(tokens, normalize=True).mean(dim=0)
            texts.append(mean_text / mean_text.norm())
        wanted = clip.logit_scale.exp() * features @ torch.stack(texts).T
    recognizer = freeze(load_user_recognizer(exported))
    assert torch.allclose(recognizer(images), wanted, atol=1e-4)
    assert recognizer.classes == {"cat": 0, "n02510455": 1, "dog": 2}


def test_gradients_reach_images_of_any_number_and_size(exported):
    recognizer = freeze(load_user_recognizer(exported)).train()
    for shape in ((1, 3, 16, 16), (7, 3, 24, 20)):
        images = torch.rand(shape, requires_grad=True)
        recognizer(images).logsumexp(dim=1).sum().backward()
        assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_the_program_runs_on_another_device_than_that_of_its_export(exported):
    """Casts in a network leave checks of the device in its program."""
    recognizer = load_user_recognizer(exported).to("meta")
    assert recognizer(torch.rand(2, 3, 16, 16, device="meta")).shape == (2, 3)


def test_without_the_package_the_line_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert main(words(tmp_path)) == 1
    line = "ra export-zero-shot: error: needs open_clip; pip install 'ra[zero-shot]'\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "tiny-clop"}, "unknown model of open_clip 'tiny-clop'; nearest: tiny-clip"),
        ({"pretrained": "openai"}, "unknown weights of tiny-clip 'openai'; known: none"),
        ({"model": "ViT-B-32", "pretrained": "openai"}, "no network; without a network, download"),
    ],
)
def test_what_is_not_there_is_one_line(open_clip, tmp_path, monkeypatch, capsys, given, message):
    def fails(name, **options):
        raise RuntimeError("no network\nand more")

    monkeypatch.setattr(open_clip, "create_model", fails)
    assert main(words(tmp_path, **given)) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "clip").exists()


def test_a_template_needs_a_place_for_the_words(tmp_path, capsys):
    assert main([*words(tmp_path), "--template", "a photo"]) == 1
    assert "--template: 'a photo' should match" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "\n", "cat\ndog: hound\ncat: tabby\n"])
def test_a_file_of_names_has_a_class_a_line(tmp_path, text):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UserError, match=r"names.txt: \d lines name \d classes; a class a line"):
        read_names(tmp_path / "names.txt")


def test_a_missing_file_of_names_is_named(tmp_path, capsys):
    assert main([*words(tmp_path), "--classes", str(tmp_path / "none.txt")]) == 1
    assert capsys.readouterr().err.endswith("none.txt: No such file or directory\n")


def test_the_description_names_its_program_relative_to_itself(exported):
    described = yaml.safe_load(exported.read_text())
    assert described["exported"] == "zero_shot.pt2" and described["num_classes"] == 3
    assert (exported.parent / "zero_shot.pt2").exists()
