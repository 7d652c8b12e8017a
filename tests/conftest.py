"""Fixtures shared by all tests: a tiny folder of images, prepared once, and tiny networks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers import ROOT, write_images

from ra.data.prepare import prepare
from ra.models.recognizers import build_recognizer, freeze

torch.set_num_threads(1)
SLOW = ("bench", "published", "reliability", "workflow")  # folders whose tests start many processes


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] in SLOW:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch):
    """Tests record nothing unless they ask for it; what an earlier `main` set is forgotten."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("RA_QUIET", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)


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
