"""A tiny processor on disk, and a folder of photographs for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ra.models.checkpoints import save_model
from ra.models.processors import build_processor


@pytest.fixture
def model(tmp_path) -> Path:
    """The folder of a processor that up-scales by 4."""
    torch.manual_seed(0)
    network = build_processor("SRResNet", 4, channels=6, blocks=2)
    nn.init.normal_([p for p in network.parameters() if p.dim() == 4][-1], std=0.2)
    folder = tmp_path / "model"
    header = {"kind": "processor", "task": "sr", "task_settings": {"factor": 4}}
    save_model(folder / "processor.safetensors", network, header)
    return folder


def picture(width=12, height=8, mode="RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    for name in ("a.png", "b.png", "in/c.png"):
        picture().save(folder / name)
    return folder
