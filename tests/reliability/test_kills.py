"""Three moments of the kill test, and signals to single commands; kill_test.py has the long one."""

import os
import signal
import sys
from pathlib import Path

import pytest

from ra.cli import main

sys.path.insert(0, str(Path(__file__).parent))
from kill_test import CONFIG, Experiment, killing  # noqa: E402


def test_killed_at_three_moments_a_training_ends_as_if_it_had_not_been(tmp_path):
    config = {**CONFIG, "objectives": {"plain": 0}}
    target = "results/tiny/sr/plain/l0/none/seed0/processor.safetensors"
    what = Experiment(config, targets=(target,))
    figures = killing(tmp_path, 3, what=what)
    assert figures["moments"] == 3 and figures["temporary_files_left"] == 0


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_ends_any_command_with_one_line(monkeypatch, capsys, tmp_path, number, code, says):
    monkeypatch.setattr("ra.tables.write_tables", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert main(["table", "--evaluations", "x", "--save-dir", str(tmp_path)]) == code
    assert capsys.readouterr().err == f"ra table: {says}\n"
    assert signal.getsignal(number) == before
