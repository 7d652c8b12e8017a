"""Fixtures shared by all tests: a tiny folder of images, prepared once, and tiny networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ra.data.cache import prepare
from ra.models.recognizers import build_recognizer, freeze

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch):
    """Tests record nothing unless they ask for it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write_images(root: Path, classes=("a", "b", "c"), train=8, val=4, size=(24, 20)) -> Path:
    """A folder with train/ and val/: every class has its own colour, plus noise."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
                pixels[..., number % 3] += 120
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, folder) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    prepare(folder, out, name="tiny", resize=20, crop=16)
    return out


@pytest.fixture
def recognizer():
    torch.manual_seed(0)
    return freeze(build_recognizer("squeezenet1_1", 3))
