"""A published network through the DAG: evaluated as it is, fine-tuned with RA, and SR4IR's way."""

import pandas as pd
import pytest
import torch
import yaml
from helpers import snakemake, write_images
from spandrel.architectures.Compact import Compact

from ra.models.checkpoints import load_processor, load_recognizer, read_header

SR = "results/tiny/sr"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("restorers")
    write_images(place / "photos", train=4, val=2)
    torch.manual_seed(0)
    torch.save(
        {"params": Compact(num_feat=8, num_conv=1, upscale=2).state_dict()}, place / "my net.pth"
    )
    config = {
        "data": "photos",
        "dataset": "tiny",
        "images": {"resize": 32, "crop": 32},
        "tasks": {"sr": {"factor": 2}},
        "recognizers": {
            "train": ["shufflenet_v2_x0_5"],
            "evaluate": ["shufflenet_v2_x0_5"],
            "schedule": {"epochs": 1, "batch_size": 6},
        },
        "processor": {"arch": "spandrel:my net.pth", "schedule": {"epochs": 1, "batch_size": 6}},
        "objectives": {"ra": 1e-3, "sr4ir": {"lambda": 1e-2, "grid": 2}},
        "tracking": {"enabled": False},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(place)
    assert run.returncode == 0, run.stderr[-5000:]
    return place


def test_the_published_network_is_a_row_of_its_own(place):
    table = pd.read_csv(place / "results/tables/sr.csv")
    rows = ["Clean Images", "No Processing", "Published: my-net", "RA Processing", "SR4IR"]
    assert list(table.iloc[:, 0]) == rows and table.iloc[:, 1].notna().all()
    assert list(pd.read_csv(place / "results/tables/quality.csv")["P Model"]) == rows[1:]


def test_trainings_begin_with_its_weights(place):
    path = f"{SR}/published/l0/none/seed0/processor.safetensors"
    published = load_processor(place / path)
    file = torch.load(place / "my net.pth", weights_only=True)["params"]
    assert all(torch.equal(file[k], v) for k, v in published.network.state_dict().items())
    tuned = load_processor(place / f"{SR}/ra/l0.001/shufflenet_v2_x0_5/seed0/processor.safetensors")
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(tuned.parameters(), published.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 1e-3  # two steps of Adam away
    assert tuned.stored["init"] == published.stored["init"]
    assert len(tuned.stored["init"]["sha256"]) == 64


def test_sr4ir_leaves_the_recognizer_that_it_trained(place):
    folder = place / f"{SR}/sr4ir/l0.01/shufflenet_v2_x0_5/seed0"
    header = read_header(folder / "recognizer.safetensors", "recognizer")
    assert header["classes"] == ["a", "b", "c"] and header["objective"] == "sr4ir"
    fixed = place / "results/tiny/recognizers/shufflenet_v2_x0_5/recognizer.safetensors"
    ours, before = load_recognizer(folder / "recognizer.safetensors"), load_recognizer(fixed)
    assert any(
        not torch.equal(a, b) for a, b in zip(ours.parameters(), before.parameters(), strict=True)
    )
    losses = pd.read_csv(folder / "training.csv")
    assert {"image", "features", "recognition"} <= set(losses.columns)
