"""One finished tiny experiment, shared by the tests of the workflow."""

import pytest
import yaml
from helpers import snakemake


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, folder):
    """A finished tiny experiment: (its folder, its config file)."""
    place = tmp_path_factory.mktemp("experiment")
    config = {
        "data": str(folder),
        "dataset": "tiny",
        "images": {"resize": 32, "crop": 32},
        "tasks": {"sr": None},
        "recognizers": {
            "train": ["squeezenet1_1"],
            "evaluate": ["squeezenet1_1", "shufflenet_v2_x0_5"],
            "schedule": {"epochs": 2, "batch_size": 8, "lr": 1e-3},
        },
        "processor": {"channels": 4, "blocks": 1, "schedule": {"epochs": 2, "batch_size": 8}},
        "transformer": {"channels": 2, "blocks": 1},
        "objectives": {"plain": 0, "ra": 1e-3, "ra_transformer": 1e-2},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(place)
    assert run.returncode == 0, run.stderr[-5000:]
    return place, config
