"""Whole photographs: the figures are those of the pixels, and the picture has its rows."""

import numpy as np
import pytest
import yaml
from helpers import ROOT, load_tool
from PIL import Image

from ra.data.embedded import PHOTOGRAPHS
from ra.errors import UserError
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor


@pytest.fixture(scope="module")
def tool():
    return load_tool("photographs")


def test_unseen_photographs_gave_no_tile(tool):
    gave = {(one.package, one.file) for one in PHOTOGRAPHS}
    assert not gave & set(tool.UNSEEN) and len(tool.UNSEEN) == 4


def test_psnr_and_colour_are_those_of_the_pixels(tool):
    original = np.full((4, 4, 3), 100, np.uint8)
    cast = original + np.array([0, 0, 2], np.uint8)
    found = tool.scores(original, {"input": original, "bicubic": original + 1, "RA": cast})
    assert found["bicubic (dB)"] == pytest.approx(20 * np.log10(255))
    assert found["RA (dB)"] == pytest.approx(10 * np.log10(255**2 * 3 / 4))
    assert (found["bicubic (colour)"], found["RA (colour)"]) == (1, 2)


def test_table_and_picture_come_from_results(tool, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="run the default experiment"):
        tool.processors(tmp_path)
    network = build_processor("SRResNet", 4, channels=2, blocks=1, skip=True)  # adds nothing yet
    header = {"kind": "processor", "task": "sr", "task_settings": {"factor": 4}}
    chosen = yaml.safe_load((ROOT / "config.yaml").read_text())["objectives"]["ra"]["lambda"]["sr"]
    for folder in ("plain/l0/none/seed0", f"ra/l{chosen:g}/resnet18/seed0"):
        save_model(tmp_path / "embedded/sr" / folder / "processor.safetensors", network, header)
    monkeypatch.setattr(tool, "UNSEEN", tool.UNSEEN[2:3])
    monkeypatch.setattr(tool, "USED", ("rocket",))
    models = tool.processors(tmp_path)
    table = tool.table(models).set_index("photograph")
    assert table.tiles.to_dict() == {"moon": "no", "rocket": "yes"}
    assert table["plain (dB)"].equals(table["bicubic (dB)"].rename("plain (dB)"))
    assert table["bicubic (dB)"].between(20, 45).all() and (table["RA (colour)"] < 0.5).all()
    tool.draw(models, tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").width == 1200
