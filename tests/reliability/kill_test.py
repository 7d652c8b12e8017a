"""Kill a small experiment at random moments, run the same command again, compare with a whole run.

    python tests/reliability/kill_test.py --moments 50
    python tests/reliability/kill_test.py --moments 10 --signal TERM     # or INT, as Ctrl-C

At each moment the process group of snakemake and its jobs is frozen (SIGSTOP), looked at, and
killed (SIGKILL). Checked: the same command goes on without any step by hand; every file under its
final name is whole at each moment and equal to that of an uninterrupted run; what a killed
training had not saved is at most one checkpoint interval old; tables and models are bit-identical
in the end. Prints the figures as JSON; exit code 1 where one of them is not as it must be.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import clean_environment, snakemake_command, write_images

from ra.tracking import journal as journals

INTERVAL_S = 1.0  # between saved states
SAVING_S = 1.0  # a step, a save and a busy machine, beside the interval
TIMES = ["seconds", "images_per_s"]
SCHEDULE = {"epochs": 250, "batch_size": 8, "lr": 1e-3}
CONFIG = {
    "dataset": "tiny",
    "images": {"resize": 32, "crop": 32},
    "tasks": {"sr": None},
    "recognizers": {
        "train": ["mobilenet_v3_small"],
        "evaluate": ["mobilenet_v3_small"],
        "schedule": {**SCHEDULE, "epochs": 30},
    },
    "processor": {"channels": 4, "blocks": 1, "schedule": SCHEDULE},
    "objectives": {"ra": 1e-3},
    "runtime": {"checkpoint_seconds": INTERVAL_S, "device": "cpu"},
}


class Fault(Exception):
    """Something was lost, half-written, or needed a hand."""


@dataclass(frozen=True)
class Experiment:
    """Configuration and targets of a run, and the signal that ends it."""

    config: dict[str, object] = field(default_factory=lambda: CONFIG)
    targets: tuple[str, ...] = ()
    signal: signal.Signals = signal.SIGKILL


def start(folder: Path, what: Experiment) -> subprocess.Popen:
    with open(folder / "snakemake.log", "a") as log:
        return subprocess.Popen(
            snakemake_command(folder, *what.targets),
            cwd=folder,
            env={**clean_environment(), "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def new(folder: Path, photos: Path, what: Experiment) -> Path:
    """A folder for one experiment, nothing run yet."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({**what.config, "data": str(photos)}))
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """Every result under its final name, without the times in them."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or "mlartifacts" in path.parts:
            continue
        if path.name == "training.csv":
            text = pd.read_csv(path).drop(columns=TIMES).to_csv()
            found[str(path.relative_to(folder))] = text.encode()
        elif path.suffix in (".csv", ".md", ".json", ".safetensors", ".bin", ".png"):
            found[str(path.relative_to(folder))] = path.read_bytes()
    timed = ("run.json", "evaluation.json")
    return {name: data for name, data in found.items() if not name.endswith(timed)}


def unsaved_s(folder: Path, now: float) -> list[float]:
    """Of each training that runs: how old its last saved state (or its beginning) is, in s."""
    ages = []
    for path in (folder / "results/.spool/mlflow.db").glob("*.jsonl"):
        begin, *events = [event for event, _ in journals.read(path)] or [{"tags": {}}]
        kind = begin["tags"].get("ra.kind", "evaluate")
        if kind == "evaluate" or not journals.is_live(path):
            continue
        if any("train_s" in event.get("values", {}) for event in events):
            continue  # trained; it stores and evaluates its models
        saved = [
            state.stat().st_mtime
            for state in (folder / "results").rglob("state.pt")
            if json.loads((state.parent / "run.json").read_text())["run_id"] == begin["run"]
        ]
        ages.append(now - max([begin["time"] / 1000, *saved]))
    return ages


def check(folder: Path, reference: dict[str, bytes]) -> None:
    """Every file under its final name is that of the uninterrupted run; states can be read.

    Without a ``reference`` only the states are read.
    """
    for name, data in outputs(folder).items():
        if reference and reference.get(name) != data:
            raise Fault(f"{folder / name} is not that of the uninterrupted run")
    for state in (folder / "results").rglob("state.pt"):
        torch.load(io.BytesIO(state.read_bytes()), weights_only=True)


def kill(running: subprocess.Popen, folder: Path, reference: dict[str, bytes]) -> list[float]:
    """Freeze, look, kill; returns ``unsaved_s``."""
    os.killpg(running.pid, signal.SIGSTOP)
    try:
        time.sleep(0.05)
        ages = unsaved_s(folder, time.time())
        check(folder, reference)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    return ages


def runs_of(folder: Path) -> list[tuple[str, str]]:
    """(name, status) of every run in the experiment's store."""
    import sqlite3

    with sqlite3.connect(folder / "results/mlflow.db") as store:
        if store.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise Fault("results/mlflow.db is damaged")
        return store.execute("SELECT name, status FROM runs").fetchall()


def stop(running: subprocess.Popen, what: Experiment) -> None:
    """Tell snakemake and its jobs to end; they have a minute to save and say so."""
    os.killpg(running.pid, what.signal)
    try:
        running.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        raise Fault(f"{what.signal.name} was not heeded within 60 s") from None


def uninterrupted(folder: Path, photos: Path, what: Experiment) -> tuple[dict[str, bytes], float]:
    """Outputs of a run that nobody kills, and its seconds."""
    begin = time.monotonic()
    if start(new(folder, photos, what), what).wait():
        raise Fault((folder / "snakemake.log").read_text()[-3000:])
    return outputs(folder), time.monotonic() - begin


def killing(
    place: Path,
    moments: int,
    seed: int = 0,
    within_s: float = float("inf"),
    what: Experiment = Experiment(),
) -> dict[str, object]:
    """Kill ``moments`` times, over as many experiments as that takes; returns the figures.

    Each start of snakemake is killed after a time that is uniform in (0, ``within_s``), or comes
    to its end before.
    """
    dice = random.Random(seed)
    photos = write_images(place / "photos", size=(36, 32))
    reference, whole_s = uninterrupted(place / "whole", photos, what)
    kills, finished, ages, states_seen, attempts, twice = 0, 0, [], 0, 0, 0
    while kills < moments:
        folder = new(place / f"killed{finished}", photos, what)
        while True:
            attempts += 1
            running = start(folder, what)
            try:
                # After the last kill the experiment comes to its end.
                code = running.wait(
                    dice.uniform(0, min(within_s, whole_s)) if kills < moments else None
                )
            except subprocess.TimeoutExpired:
                if what.signal == signal.SIGKILL:
                    ages += kill(running, folder, reference)
                else:
                    stop(running, what)
                    check(folder, reference)
                states_seen += len(list((folder / "results").rglob("state.pt")))
                kills += 1
                continue
            if code:
                raise Fault((folder / "snakemake.log").read_text()[-3000:])
            break
        finished += 1
        check(folder, reference)
        if outputs(folder).keys() != reference.keys():
            raise Fault(f"{folder}: {outputs(folder).keys() ^ reference.keys()}")
        statuses = Counter(runs_of(folder))
        if {status for _, status in statuses} - {"FINISHED", "KILLED"}:
            raise Fault(f"{folder}: {statuses}")
        # Killed between a job's last word to MLflow and snakemake's note that it is done.
        twice += sum(n - 1 for (_, status), n in statuses.items() if status == "FINISHED")
    litter = [str(p) for p in place.glob("killed*/results/**/.*.ra-[0-9]*") if p.is_file()]
    figures = {
        "signal": what.signal.name,
        "moments": kills,
        "experiments_finished": finished,
        "starts": attempts,
        "uninterrupted_s": round(whole_s, 1),
        "killed_within_s": round(min(within_s, whole_s), 1),
        "checkpoint_seconds": INTERVAL_S,
        "trainings_killed": len(ages),
        "oldest_unsaved_s": round(max(ages, default=0), 2),
        "saved_states_found": states_seen,
        "jobs_done_twice": twice,
        "files_compared": len(reference),
        "temporary_files_left": len(litter),
    }
    if max(ages, default=0) > INTERVAL_S + SAVING_S:
        raise Fault(f"more than one checkpoint interval is lost: {figures}")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--within",
        type=float,
        default=float("inf"),
        metavar="S",
        help="kill within this many seconds of a start (default: of an uninterrupted run)",
    )
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--place", type=Path, help="an empty folder (default: a temporary one)")
    options = parser.parse_args()
    place = options.place or Path(tempfile.mkdtemp(prefix="ra-kill-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        what = Experiment(signal=signal.Signals[f"SIG{options.signal}"])
        figures = killing(place, options.moments, options.seed, options.within, what)
    except Fault as fault:
        print(f"kill_test: {fault} (everything is kept in {place})", file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
