"""Kills and signals, short: a training at random moments, snakemake once, single commands.

kill_test.py kills a whole experiment at 50 random moments.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import write_images
from safetensors.torch import load_file

from ra.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from kill_test import CONFIG, INTERVAL_S, Experiment, kill, new, start

TRAIN = ["--task", "sr", "--l", "0", "--epochs", "60", "--batch-size", "8", "--lr", "1e-3"]
TRAIN += ["--channels", "4", "--blocks", "1", "--device", "cpu"]


def train(prepared, out, log):
    """In a process of its own, forked so that nothing is imported anew."""
    torch.set_num_threads(1)
    with open(log, "a", buffering=1) as sys.stderr:
        command = ["train", "--data", prepared, *TRAIN, "--checkpoint-seconds", "0"]
        os._exit(main([str(part) for part in [*command, "--save-dir", out]]))


def test_a_training_killed_at_random_moments_ends_as_if_it_had_not_been(prepared, tmp_path):
    fork = multiprocessing.get_context("fork")
    begin = time.monotonic()
    whole = fork.Process(target=train, args=(prepared, tmp_path / "whole", tmp_path / "whole.log"))
    whole.start()
    whole.join()
    seconds = time.monotonic() - begin
    assert whole.exitcode == 0, (tmp_path / "whole.log").read_text()
    dice, kills = random.Random(0), 0
    while True:
        job = fork.Process(target=train, args=(prepared, tmp_path / "cut", tmp_path / "cut.log"))
        job.start()
        # Three kills come before the end even where the machine is twice as fast as before.
        job.join(dice.uniform(0, seconds / 6) if kills < 6 else None)
        if job.exitcode is not None:
            break
        os.kill(job.pid, signal.SIGKILL)
        job.join()
        kills += 1
        if (tmp_path / "cut/state.pt").exists():
            torch.load(tmp_path / "cut/state.pt", weights_only=True)
    assert job.exitcode == 0, (tmp_path / "cut.log").read_text()
    assert kills >= 3 and "resuming from step" in (tmp_path / "cut.log").read_text()
    model = "processor.safetensors"
    assert (tmp_path / "cut" / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()
    kept = {path.name for path in (tmp_path / "cut").iterdir()}
    assert "state.pt" not in kept and not [n for n in kept if n.startswith(".") and n != ".lock"]


def test_a_killed_snakemake_goes_on_by_the_same_command(tmp_path):
    photos = write_images(tmp_path / "photos", size=(36, 32))
    what = Experiment(
        {**CONFIG, "objectives": {"plain": 0}},
        targets=("results/tiny/sr/plain/l0/none/seed0/processor.safetensors",),
    )
    folder = new(tmp_path / "killed", photos, what)
    place = folder / "results/tiny/sr/plain/l0/none/seed0"
    running = start(folder, what)
    while not (place / "state.pt").exists():
        assert running.poll() is None, (folder / "snakemake.log").read_text()
        time.sleep(0.02)
    (age,) = kill(running, folder, reference={})
    assert age < INTERVAL_S + 5
    assert start(folder, what).wait() == 0, (folder / "snakemake.log").read_text()
    assert "resuming from step" in (place / "train.log").read_text()
    schedule = CONFIG["processor"]["schedule"]
    command = [*TRAIN, "--epochs", schedule["epochs"], "--threads", "1"]
    command = ["train", "--data", folder / "results/tiny/data", *command, "--save-dir", tmp_path]
    assert main([str(part) for part in command]) == 0
    whole, killed = (load_file(p / "processor.safetensors") for p in (tmp_path, place))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_ends_any_command_with_one_line(monkeypatch, capsys, tmp_path, number, code, says):
    monkeypatch.setattr("ra.jobs.tables.write_tables", lambda *_: os.kill(os.getpid(), number))
    begun_with = signal.getsignal(number)
    if number == signal.SIGINT:  # a shell's background job has it ignored
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    assert main(["table", "--evaluations", "x", "--save-dir", str(tmp_path)]) == code
    assert capsys.readouterr().err == f"ra table: {says}\n"
    assert signal.getsignal(number) == before
    signal.signal(number, begun_with)
