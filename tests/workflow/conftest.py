"""One finished tiny experiment, shared by the tests of the workflow."""

import pytest
import torch
import yaml
from helpers import snakemake, write_images

from ra.models.architectures import build_recognizer

# Every path that a user gives may have a name like this one.
HOSTILE = 'it\'s {x} {} [1] ü? #%20 "$(touch executed)"'


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A finished tiny experiment: (its folder, its config file)."""
    place = tmp_path_factory.mktemp("experiment")
    odd = place / HOSTILE
    write_images(odd / "photos")
    config = {
        "data": str(odd / "photos"),
        "dataset": "tiny",
        "results": str(odd / "results [1]"),
        "images": {"resize": 32, "crop": 32},
        "tasks": {"sr": None},
        "recognizers": {
            "train": ["squeezenet1_1"],
            "evaluate": ["squeezenet1_1", own_recognizer(odd)],
            "schedule": {"epochs": 2, "batch_size": 8, "lr": 1e-3},
        },
        "processor": {"channels": 4, "blocks": 1, "schedule": {"epochs": 2, "batch_size": 8}},
        "transformer": {"channels": 2, "blocks": 1},
        "objectives": {"plain": 0, "ra": 1e-3, "ra_transformer": 1e-2},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    (odd / "results 1").mkdir()  # what a shell makes of results [1]
    run = snakemake(place)
    (place / "results").symlink_to(config["results"])  # for the tests to read
    assert run.returncode == 0, run.stderr[-5000:]
    return place, config


def own_recognizer(folder):
    """A YAML file of a user's own recognizer, with its weights beside it."""
    torch.manual_seed(0)
    network = build_recognizer("mobilenet_v3_small", 3).classifier
    torch.save(network.state_dict(), folder / "own weights {y}.pth")
    content = {"arch": "mobilenet_v3_small", "num_classes": 3}
    content |= {"state_dict": "own weights {y}.pth"}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "own.yaml")
