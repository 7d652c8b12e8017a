"""The command line as a person meets it: help, one-line errors, the released script's flags."""

import re
import shlex
import shutil

import pandas as pd
import pytest
import torch
import torchvision
import yaml
from helpers import write_images
from PIL import Image

from ra.cli import main
from ra.cli.commands import COMMANDS, GROUPS
from ra.cli.parser import example, parse
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import read_header, save_model


def call(*arguments):
    return main([str(part) for part in arguments])


@pytest.mark.parametrize(
    "name", ["prepare", "train-recognizer", "train", "import-checkpoint", "evaluate", "table"]
)
def test_help_explains_every_flag(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(name, "--help")
    assert stopped.value.code == 0
    assert "default: None" not in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_takes(name):
    assert parse(shlex.split(example(name))[1:])


def test_the_overview_has_groups_and_examples(capsys):
    with pytest.raises(SystemExit):
        call("--help")
    said = capsys.readouterr().out
    assert all(f"\n{group}:\n" in said for group in GROUPS)
    assert said.count("for example: ra ") == len(GROUPS)
    assert call("evalute") == 1
    assert "unknown command 'evalute'; nearest: evaluate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--task", "srr", "--l", "0"], "unknown task 'srr'; nearest: sr"),
        (["train", "--mode", "rra"], "unknown objective 'rra'; nearest: ra"),
        (["train", "--l", "-1"], "--l: '-1' should be greater than or equal to 0"),
        (["train", "--l", "0", "--sr-arch", "pix2pix"], "pix2pix does not up-scale"),
        (["train", "--l", "0", "--lr", "0"], "--lr: '0' should be greater than 0"),
        (["train", "--recognizer", "none.safetensors"], "none.safetensors: no such model file"),
        (
            ["train", "--l", "0", "--device", "tpu"],
            "--device: 'tpu' should match pattern '^(auto|cpu",
        ),
        (
            ["train", "--l", "0", "--precision", "fp8"],
            "--precision: 'fp8' should be 'fp32', 'tf32' or 'bf16'",
        ),
        (
            ["train", "--task", "dn", "--sigma", "0.2", "0.02"],
            "--sigma: [0.2, 0.02] is no range; write [low, high], the lower number first",
        ),
        (["train", "--factor", "2", "4"], "--factor: ['2', '4'] should be a valid integer"),
        (
            ["train", "--task", "chain", "--steps", "dn", "jpeg: {qualty: 3}"],
            "--steps: step 2: qualty: task jpeg has no such setting; it has quality",
        ),
        (["train-recognizer", "--arch", "resnet81"], "unknown recognizer 'resnet81'"),
        (["evaluate", "--task", "sr"], "--model-sr: needed"),
        (["evaluate", "--model-sr", "none"], "--task: needed when --model-sr is none"),
        (["evaluate", "--model-sr", "p.safetensors"], "p.safetensors: no such model file"),
    ],
)
def test_a_mistake_is_one_line_and_a_non_zero_exit(prepared, tmp_path, capsys, arguments, message):
    command, *rest = arguments
    code = call(command, "--data", prepared, "--save-dir", tmp_path, *rest)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1 and message in said and said.startswith(f"ra {command}: error:")


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert call("prepare", "--data", tmp_path / "no", "--save-dir", tmp_path / "out") == 1
    assert f"{tmp_path}/no: no such folder" in capsys.readouterr().err


def test_a_missing_flag_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        call("train", "--task", "sr")
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A plain folder named by wnids, and a stand-in for resnet18's pretrained weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    torch.save(torchvision.models.resnet18().state_dict(), cache / url.rpartition("/")[2])
    return write_images(tmp_path / "imagenet", ("n01440764", "n03888257"), 2, 1, size=(40, 36))


@pytest.mark.parametrize("mode", ["ra", "ra_transform", "ra_unsupervised"])
def test_the_released_command_line_trains_and_judges(imagenet, tmp_path, mode):
    out = tmp_path / "checkpoints_sr"
    small = ["--resize", 36, "--crop", 32, "--device", "cpu", "--threads", 1]
    small_p = ["--epochs", 1, "--channels", 4, "--transformer-channels", 2]
    released = [
        "--l",
        0.001,
        "--save-dir",
        out,
        "--task",
        "sr",
        "--sr-arch",
        "SRResNet",
        "--arch",
        "resnet18",
        "--mode",
        mode,
        "--data",
        imagenet,
    ]
    assert call("train", *released, *small, *small_p) == 0
    judged = ["--model-sr", out / "processor.safetensors", "--task", "sr", "--data", imagenet]
    if mode == "ra_transform":
        judged += ["--model-transformer", out / "transformer.safetensors"]
    assert call("evaluate", *judged, "--recognizers", "resnet18", *small) == 0
    tidy = pd.read_csv(out / "evaluation.csv")
    assert set(tidy.metric) >= {"top1", "psnr"} and (tidy.n == 2).all()
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert (card["pipeline_tag"], card["library_name"]) == ("image-to-image", "ra")
    assert len(card["model-index"][0]["results"][0]["metrics"]) == len(tidy)
    top1, text = tidy[tidy.metric == "top1"].iloc[0], re.sub(" +", " ", text)
    interval = f"[{top1.low:.3f}, {top1.high:.3f}]"
    assert f"| ResNet-18: top1 | {top1.value:.3f} {interval} | 2 |" in text
    assert "Trained on `imagenet`." in text and "| epochs | 1 |" in text
    assert "The data, `imagenet`: non-commercial research" in text
    shutil.move(out, tmp_path / "alone")
    photo = next((imagenet / "val").rglob("*.png"))
    assert call("process", "--model", tmp_path / "alone", photo, tmp_path / "p.png") == 0


def test_ranges_and_chains_are_stored_with_the_model_and_evaluated(prepared, tmp_path):
    steps = ["blur: {sigma: [0.2, 2]}", "sr: {factor: 2}", "dn: {sigma: [0.02, 0.1]}", "jpeg"]
    small = ["--epochs", 1, "--channels", 4, "--blocks", 1, "--device", "cpu", "--threads", 1]
    words = ["--data", prepared, "--mode", "plain", *small, "--save-dir", tmp_path]
    assert call("train", *words, "--task", "chain", "--steps", *steps) == 0
    model = tmp_path / "processor.safetensors"
    header = read_header(model)
    stored = [{"blur": {"sigma": [0.2, 2]}}, {"sr": {"factor": 2}}, {"dn": {"sigma": [0.02, 0.1]}}]
    assert header["task_settings"] == {"steps": [*stored, {"jpeg": {"quality": 10}}]}
    assert header["network"]["scale"] == 2
    header = {"kind": "recognizer", "arch": "mobilenet_v3_small", "classes": ["a", "b", "c"]}
    save_model(tmp_path / "r.safetensors", build_recognizer(header["arch"], 3), header)
    judged = ["--data", prepared, "--model-sr", model, "--recognizers", tmp_path / "r.safetensors"]
    psnr = []
    for more in ([], ["--steps", "sr: {factor: 2}"]):
        assert call("evaluate", *judged, "--device", "cpu", "--threads", 1, *more) == 0
        psnr.append(pd.read_csv(tmp_path / "images.csv").psnr.mean())
    assert psnr[0] != psnr[1]  # the stored steps, then those of the flag
    Image.new("RGB", (10, 6)).save(tmp_path / "in.png")
    assert call("process", "--model", tmp_path, tmp_path / "in.png", tmp_path / "out.png") == 0
    assert Image.open(tmp_path / "out.png").size == (20, 12)


def test_table_alone(tmp_path, prepared, capsys):
    assert call("table", "--evaluations", tmp_path / "x.csv", "--save-dir", tmp_path) == 1
    assert "x.csv: cannot be read as an evaluation" in capsys.readouterr().err
