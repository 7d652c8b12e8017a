"""The last line of a command: what came out, and where."""

import pandas as pd
import pytest
from helpers import write_evaluation
from PIL import Image

from ra.cli import main
from ra.cli.outcome import outcome
from ra.files import write_text
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor


def test_an_evaluation_ends_with_its_headline(tmp_path):
    path = write_evaluation(tmp_path / "ra", "ra", {"resnet18": "01"}, training_r="resnet18")
    row = pd.read_csv(path).iloc[0]
    values = [("resnet18", "top1", 77.9), ("r50", "top1", 71), ("r101", "top1", 69.9)]
    values += [("none", "psnr", 28.71), ("resnet18", "top5", 99)]
    rows = [{**row, "evaluation_r": r, "metric": m, "value": v} for r, m, v in values]
    pd.DataFrame(rows).to_csv(path, index=False)
    assert outcome("evaluate", None, [path.with_name("images.csv"), path]) == (
        "RA sr 0.1 resnet18 seed0: 77.9 % ResNet-18, 70.5 % unseen, 28.7 dB "
        f"-> {path} and 1 more file"
    )


@pytest.mark.parametrize(
    ("p_model", "line"), [("plain", "Plain sr seed0"), ("no_processing", "No Processing sr seed0")]
)
def test_without_a_training_recognizer_none_is_unseen(tmp_path, p_model, line):
    path = write_evaluation(tmp_path / "p", p_model, {"r18": "01"})
    said = outcome("evaluate", None, [path, path.with_name("images.csv")])
    assert said.startswith(f"{line}: 1.0 % r18 -> ")


def test_a_training_ends_with_its_losses(tmp_path):
    header = {"task": "sr", "objective": "plain", "lambda": 0.0, "recognizer": "none", "seed": 1}
    network = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(tmp_path / "processor.safetensors", network, {"kind": "processor", **header})
    history = "epoch,image,lr,seconds,images_per_s\n1,.5,1,2,3\n2,.25,1,2,3\n"
    write_text(tmp_path / "training.csv", history)
    said = outcome("train", None, sorted(tmp_path.iterdir()))
    assert said.startswith("Plain sr seed1: image loss 0.25 in epoch 2 -> ")
    assert said.endswith("processor.safetensors and 1 more file")


def test_what_is_gone_is_not_named(tmp_path):
    write_text(tmp_path / "a.md", "")
    assert outcome("x", None, [tmp_path / "state.pt"]) is None
    assert outcome("x", "42 images", [tmp_path / "state.pt"]) == "42 images"
    assert outcome("x", None, [tmp_path / "a.md", tmp_path / "b"]) == f"x -> {tmp_path / 'a.md'}"
    write_text(tmp_path / "training.csv", "of ra bench")
    said = outcome("bench", None, sorted(tmp_path.iterdir()))
    assert said == f"bench -> {tmp_path / 'training.csv'} and 1 more file"


def test_prepare_says_what_became_of_sizes(tmp_path, capsys):
    for split in ("train", "val"):
        (tmp_path / "photos" / split / "a").mkdir(parents=True)
        for number in range(2):
            path = tmp_path / "photos" / split / "a" / f"{number}.png"
            Image.new("RGB", (200, 120), (number, 0, 0)).save(path)
    words = ["prepare", "--data", str(tmp_path / "photos"), "--save-dir", str(tmp_path / "out")]
    assert main([*words, "--resize", "40", "--crop", "32"]) == 0
    said = capsys.readouterr().out
    assert "resized as 200x120 to 66x40 px, crops of 32 px (--resize and --crop" in said
    assert said.endswith(f" -> {tmp_path / 'out/train.csv'} and 2 more files\n")
    assert main([*words, "--resize", "100", "--crop", "32"]) == 0
    assert "to 166x100 px, crops of 32 px -> " in capsys.readouterr().out
    assert main([*words, "--resize", "none", "--crop", "32", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_prepare_says_that_scenes_fill_a_square(tmp_path, capsys):
    words = ["prepare", "--data", "scenes", "--scenes", "2", "1", "--crop", "64"]
    assert main([*words, "--save-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "2 training and 1 validation images, each fitted into a square of 64 px -> " in said
