"""The same experiment by ``snakemake --cores 1`` and ``--cores 2``."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from ra.bench.measure import spread, verdict
from ra.errors import UserError

TARGET = 1.7
# Independent jobs of several seconds of work each; one of each kind must come first.
SMALL = {
    "data": "embedded",
    "images": {"resize": 40, "crop": 32},
    "recognizers": {
        "train": ["resnet18"],
        "evaluate": ["resnet18"],
        "schedule": {"epochs": 1, "batch_size": 64, "lr": 1e-3},
    },
    "processor": {
        "channels": 16,
        "blocks": 3,
        "schedule": {"epochs": 2, "batch_size": 16, "lr": 3e-3},
    },
    "objectives": {"plain": 0, "ra": [1e-3, 1e-2]},
    "tracking": {"enabled": False},
}


def compare(folder: Path, configfile: Path | None, repeats: int) -> list[dict[str, object]]:
    """How many times as fast two cores are as one, from an empty folder to the tables.

    Args:
        configfile: the experiment; by default a small one.

    Raises:
        UserError: no Snakefile here, or snakemake failed.
    """
    snakefile = Path("Snakefile").absolute()
    if not snakefile.exists():
        raise UserError(f"{snakefile}: not found; run cores in the folder of the workflow")
    config = folder / "config.yaml"
    config.write_text(configfile.read_text() if configfile else yaml.safe_dump(SMALL))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for cores in (1, 2) if repeat % 2 == 0 else (2, 1):
            seconds[cores].append(_run(snakefile, folder / "cores", config, cores))
    ratio = spread(seconds[1], seconds[2])
    return [
        {
            "experiment": configfile.name if configfile else "small",
            "--cores 1 s": min(seconds[1]),
            "--cores 2 s": min(seconds[2]),
            **ratio,
            **verdict(ratio["best"], TARGET, at_least=True),
        }
    ]


def _run(snakefile: Path, place: Path, config: Path, cores: int) -> float:
    place.mkdir()
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--configfile", config]
    command += ["--directory", place, "--cores", cores, "--quiet", "all"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RA_"))}
    begin = time.perf_counter()
    run = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment
    )
    if run.returncode:
        raise UserError(f"snakemake --cores {cores} failed: {run.stderr.strip()[-500:]}")
    seconds = time.perf_counter() - begin
    shutil.rmtree(place)
    return seconds
