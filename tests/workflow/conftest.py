"""Runs snakemake as a user does, in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def snakemake(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RA_"))}
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "2", *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, cwd=folder
    )


def planned(run: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs by rule, as a dry run counts them."""
    assert run.returncode == 0, run.stderr + run.stdout
    table = (run.stdout + run.stderr).split("Job stats:")[-1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, folder):
    """A finished tiny experiment: (its folder, its config file)."""
    place = tmp_path_factory.mktemp("experiment")
    config = {
        "data": str(folder),
        "dataset": "tiny",
        "images": {"resize": 32, "crop": 32},
        "tasks": {"sr": None, "jpeg": {"quality": 20}},
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
