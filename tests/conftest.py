"""Fixtures shared by all tests: a tiny folder of images, prepared once, and tiny networks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers import ROOT, write_images

from ra.data.prepare import prepare
from ra.models.architectures import build_recognizer
from ra.models.recognizers import freeze

torch.set_num_threads(1)
SLOW = ("workflow", "bench", "reliability", "published")  # folders whose tests start many processes
LONGEST_FIRST = (*SLOW, "tracking", "training", "runtime")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Long files start first, so that no worker is left with one in the end. A file is one
    worker's; the tests of one finished experiment are so too, whichever file they are in."""
    for item in items:
        path = item.path.relative_to(ROOT / "tests")
        folder = path.parts[0]
        if folder in SLOW:
            item.add_marker("slow")
        alone = "tiny" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("tiny" if alone else str(path)))
        item.order = LONGEST_FIRST.index(folder) + 1 if folder in LONGEST_FIRST else 99
        item.order -= 9 * alone
    items.sort(key=lambda item: item.order)


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
