"""The same settings give the same bytes: loader processes, cores and the order of jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import clean_environment, snakemake_command, write_images

from ra.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from kill_test import CONFIG, Experiment, new, outputs

SMALL = ["--device", "cpu", "--batch-size", "8", "--lr", "1e-3"]


def by_hand(photos: Path, out: Path, workers: int, reverse: bool) -> dict[str, bytes]:
    """One R, two P's and their tables through the command line; files by name."""

    def ra(*arguments):
        assert main([str(part) for part in arguments]) == 0

    workers = ["--workers", workers]
    ra("prepare", "--data", photos, "--name", "tiny", "--save-dir", out / "data", "--resize", "32",
       "--crop", "32", *workers)  # fmt: skip
    r = out / "r/recognizer.safetensors"
    ra("train-recognizer", "--data", out / "data", "--arch", "mobilenet_v3_small", "--epochs", "2",
       *SMALL, *workers, "--save-dir", r.parent)  # fmt: skip
    modes = ["plain", "ra"]
    evaluations = {mode: out / mode / "evaluation.csv" for mode in modes}
    for mode in reversed(modes) if reverse else modes:
        weight = 0 if mode == "plain" else 1e-3
        ra("train", "--data", out / "data", "--task", "dn", "--mode", mode, "--l", weight,
           "--recognizer", r, "--arch", "mobilenet_v3_small", "--channels", "4", "--blocks", "1",
           "--epochs", "3", *SMALL, *workers, "--save-dir", out / mode)  # fmt: skip
        ra("evaluate", "--data", out / "data", "--model-sr", out / mode / "processor.safetensors",
           "--recognizers", r, "--device", "cpu", *workers)  # fmt: skip
    ra("table", "--evaluations", *evaluations.values(), "--save-dir", out / "tables")
    names = [*evaluations.values(), *out.glob("*/*.safetensors"), *out.glob("tables/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in names}


def test_loader_processes_and_order_change_no_byte(tmp_path):
    photos = write_images(tmp_path / "photos")
    one = by_hand(photos, tmp_path / "one", 0, reverse=False)
    assert len(one) > 8
    assert by_hand(photos, tmp_path / "two", 2, reverse=True) == one
    table = pd.read_csv(tmp_path / "one/tables/dn.csv", index_col=0)
    assert list(table.index) == ["Plain Processing", "RA Processing"]


@pytest.mark.skipif("RA_LONG_TESTS" not in os.environ, reason="minutes; set RA_LONG_TESTS=1")
def test_cores_workers_and_order_of_a_workflow_change_no_byte(tmp_path):
    photos = write_images(tmp_path / "photos", size=(36, 32))
    short = {**CONFIG["processor"], "schedule": {"epochs": 5, "batch_size": 8}}
    config = {**CONFIG, "objectives": {"plain": 0, "ra": 1e-3}, "processor": short}
    found = []
    for name, cores, workers, order in (
        ("one", 1, 0, []),
        ("two", 2, 2, []),
        ("reverse", 2, 0, ["--prioritize", "results/tables/all.csv", "--scheduler", "greedy"]),
    ):
        runtime = {**config["runtime"], "workers": workers}
        folder = new(tmp_path / name, photos, Experiment({**config, "runtime": runtime}))
        command = [*snakemake_command(folder, *order), "--cores", str(cores)]
        subprocess.run(command, cwd=folder, env=clean_environment(), check=True)
        found.append(outputs(folder))
    assert found[0] == found[1] == found[2] and len(found[0]) > 15
