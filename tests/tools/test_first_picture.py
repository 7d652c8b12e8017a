"""The README's picture: gains and losses in their proportion, chosen by a rule, from csv files."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT, load_tool
from PIL import Image

from ra.errors import UserError
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

COLUMNS = ("prediction", "top1", "recognition_loss")


@pytest.fixture(scope="module")
def tool():
    return load_tool("first_picture")


def answers(labels, predictions, shares):
    """images.csv of one recognizer; ``shares`` are probabilities of the right class, in percent."""
    hits = [int(a == b) for a, b in zip(labels, predictions, strict=True)]
    table = pd.DataFrame({"index": range(len(labels)), "label": labels})
    values = (predictions, hits, -np.log(np.array(shares) / 100))
    return table.assign(
        **{f"densenet121:{name}": value for name, value in zip(COLUMNS, values, strict=True)}
    )


def test_tiles_are_chosen_by_change_of_probability_and_in_proportion(tool):
    labels = [0, 0, 1, 2, 3, 4, 5]
    plain = answers(labels, [9, 9, 9, 9, 9, 4, 5], [10, 10, 10, 10, 10, 90, 90])
    aware = answers(labels, [0, 0, 1, 2, 3, 9, 5], [60, 70, 50, 90, 80, 20, 99])
    contrast = np.array([50, 50, 50, 50, 1, 50, 50])
    won, lost, gains, losses = tool.choose(plain, aware, "densenet121", contrast)
    assert (gains, losses) == (5, 1)  # all of them, also what is too flat to draw
    assert won == [3, 1, 2]  # largest change first, one a class, nothing flat
    assert lost == [5]
    with pytest.raises(UserError, match="one direction"):
        tool.choose(plain, plain, "densenet121", contrast)


def test_the_picture_is_drawn_from_results(tool, tmp_path, prepared):
    base = tmp_path / "embedded"
    shutil.copytree(prepared, base / "data")
    labels = np.repeat([0, 1, 2], 4)
    wrong = (labels + 1) % 3
    plain = np.where(np.arange(12) < 8, wrong, labels)
    aware = np.where(np.arange(12) < 8, labels, wrong)
    for folder, predictions in (
        ("no_processing", wrong),
        ("plain/l0/none/seed0", plain),
        ("ra/l0.0005/resnet18/seed0", aware),
    ):
        table = answers(labels, predictions, np.where(predictions == labels, 80, 20))
        (base / "sr" / folder).mkdir(parents=True)
        table.to_csv(base / "sr" / folder / "images.csv", index=False)
        network = build_processor("SRResNet", 4, channels=2, blocks=1)
        header = {"kind": "processor", "task": "sr", "task_settings": {"factor": 4}}
        save_model(base / "sr" / folder / "processor.safetensors", network, header)
    tool.FLAT = 0
    tool.draw(tmp_path, tmp_path / "first.png")
    with Image.open(tmp_path / "first.png") as image:
        assert image.width == 1600 and len(image.convert("RGB").getcolors(2**24)) > 1000
    with pytest.raises(UserError, match="run the default experiment first"):
        tool.draw(tmp_path / "none", tmp_path / "first.png")


def test_the_picture_is_of_the_default_experiments_lambda(tool, tmp_path):
    """`snakemake analysis` leaves processors of other lambdas beside it."""
    for folder in ("no_processing", "plain/l0/none/seed0"):
        (tmp_path / "embedded/sr" / folder).mkdir(parents=True)
        (tmp_path / "embedded/sr" / folder / "images.csv").touch()
    for weight in ("l0.0001", "l0.0005", "l0.01"):
        folder = tmp_path / f"embedded/sr/ra/{weight}/resnet18/seed0"
        folder.mkdir(parents=True)
        (folder / "images.csv").touch()
    assert "ra/l0.0005/" in str(list(tool.find(tmp_path).values())[-1])
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert config["objectives"]["ra"]["lambda"]["sr"] == tool.LAMBDA
