"""tools/render_text.py: phrases as images, the same ones each time."""

import numpy as np
import pytest
from helpers import load_tool
from PIL import Image


@pytest.fixture(scope="module")
def tool():
    return load_tool("render_text")


def test_each_phrase_is_a_class_of_whole_dark_text(tool, tmp_path):
    tool.main(str(tmp_path), "2", "1")
    for split, count in (("train", 2), ("val", 1)):
        assert {one.name for one in (tmp_path / split).iterdir()} == set(tool.PHRASES)
        files = sorted(tmp_path.glob(f"{split}/*/*.png"))
        assert len(files) == count * len(tool.PHRASES)
        for file in files:
            pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
            ink = np.abs(pixels - pixels[0, 0]).sum(axis=2) > 60
            rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
            assert pixels.shape == (96, 96, 3) and 0.02 < ink.mean() < 0.4
            assert rows.min() > 3 and rows.max() < 92 and columns.min() > 3 and columns.max() < 92
            assert pixels[ink].mean() < pixels[~ink].mean()


def test_an_image_depends_on_its_number_alone(tool):
    one, again = (tool.render("red apple", np.random.default_rng([0, 0, 7])) for _ in range(2))
    other = tool.render("red apple", np.random.default_rng([0, 0, 8]))
    assert one.tobytes() == again.tobytes() != other.tobytes()
