"""Every command line of the released code's README, flag for flag, on a tiny folder."""

import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision
from helpers import write_images

from ra.cli import main
from ra.jobs import train

LINES = (Path(__file__).parent / "commands.txt").read_text().splitlines()
MODELS = {
    "PATH_TO_MODEL": "checkpoints_sr/processor.safetensors",
    "PATH_TO_SR_MODEL": "checkpoints_sr_T/processor.safetensors",
    "PATH_TO_TRANSFORMER_MODEL": "checkpoints_sr_T/transformer.safetensors",
}
JUDGES = ("resnet18", "densenet121")  # two of the paper's five, whose weights take a second


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """ImageNet in small: two wnids, and a cache with weights under torchvision's file names."""
    folder = tmp_path_factory.mktemp("published")
    write_images(folder / "imagenet", ("n01440764", "n02102040"), train=1, val=1, size=(260, 230))
    cache = folder / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    for name in JUDGES:
        choice = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        network = torchvision.models.get_model(name)
        torch.save(network.state_dict(), cache / choice.url.rpartition("/")[2])
    return folder


def test_the_published_commands_work_after_ra_train(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    monkeypatch.setattr(train, "PAPER_RECOGNIZERS", JUDGES)
    for line in LINES:
        words = shlex.split(line)[3:]
        words = [MODELS.get(word, word).replace("PATH_TO_IMAGENET", "imagenet") for word in words]
        if "--cross-evaluate" not in words:
            words += ["--epochs", "1"]  # the published six would take minutes
        assert main(["train", *words]) == 0, capsys.readouterr().err
    for folder in ("checkpoints_sr", "checkpoints_sr_T", "checkpoints_sr_U"):
        made = {path.name for path in (place / folder).iterdir()}
        assert {"processor.safetensors", "training.csv", "sample.png"} <= made
    for folder, model in (("checkpoints_sr", "ra"), ("checkpoints_sr_T", "ra_transformer")):
        table = pd.read_csv(place / folder / "evaluation.csv")
        assert set(table.p_model) == {model} and set(table.evaluation_r) == {"none", *JUDGES}
        assert (place / folder / "strip.png").exists()


def test_they_judge_with_the_papers_five():
    assert train.PAPER_RECOGNIZERS == (
        "resnet18",
        "resnet50",
        "resnet101",
        "densenet121",
        "vgg16_bn",
    )
