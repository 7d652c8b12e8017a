"""The loop: schedule, resumption bit for bit, other settings, divergence, signals."""

import contextlib
import copy
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
import torch

from ra.cli import main
from ra.data.degradations import build_task
from ra.data.splits import Crops, open_split
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.processors import build_processor
from ra.settings.base import checked
from ra.settings.shared import Schedule
from ra.settings.shared import TrainingRuntime as Runtime
from ra.tracking import run as tracking
from ra.training.loop import Diverged, Interrupted, train
from ra.training.objectives import OBJECTIVES, Phase, Plain

SCHEDULE = Schedule(epochs=2, batch_size=5, lr=1e-3, lr_steps=(1,))
CPU = torch.device("cpu")


def run(
    prepared, tmp_path, schedule=SCHEDULE, settings=None, log=lambda m, s: None, runtime=None,
    dropout=0.0,
):  # fmt: skip
    torch.manual_seed(0)
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    if dropout:
        processor.block1.add_module("dropout", torch.nn.Dropout(dropout))
    crops = Crops(open_split(prepared, "train"), build_task("dn"))
    history = train(
        Plain(processor),
        crops,
        schedule,
        runtime or Runtime(checkpoint_seconds=0, log_steps=2),
        CPU,
        tmp_path / "state.pt",
        settings or {"lr": 1},
        log,
    )
    return processor.state_dict(), history


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_papers_schedule():
    rates = [Schedule().lr_at(step, steps_per_epoch=10) for step in (0, 39, 40, 49, 50, 59)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])


def test_cosine_falls_to_zero_and_warms_up():
    schedule = Schedule(epochs=10, lr=1.0, lr_schedule="cosine", warmup=5)
    rates = [schedule.lr_at(step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(0.5)
    assert rates[99] < 0.001


def test_training_lowers_the_loss_and_reports_it(prepared, tmp_path):
    logged = []
    schedule = Schedule(epochs=8, batch_size=5, lr=2e-3, lr_steps=())
    _, history = run(prepared, tmp_path, schedule, log=lambda m, s: logged.append((s, m)))
    assert history[-1]["image"] < 0.8 * history[0]["image"]
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert logged[-1][0] == 8 * 5 and "epoch_image" in logged[-1][1]


def stop_after(steps):
    """A log that raises as a kill would, once training has come to ``steps``."""

    def log(metrics, step):
        if step >= steps:
            raise ConnectionAbortedError

    return log


@pytest.mark.parametrize("steps", [2, 4, 6, 10])
def test_a_resumed_training_gives_the_numbers_of_an_uninterrupted_one(prepared, tmp_path, steps):
    whole, history = run(prepared, tmp_path / "whole")
    with pytest.raises(ConnectionAbortedError):
        run(prepared, tmp_path / "cut", log=stop_after(steps))
    assert (tmp_path / "cut/state.pt").exists()
    resumed, resumed_history = run(prepared, tmp_path / "cut")
    assert same(whole, resumed)
    assert [row["image"] for row in resumed_history] == pytest.approx(
        [row["image"] for row in history], rel=1e-12
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_training_draws_the_same_dropout(prepared, tmp_path, workers):
    runtime = Runtime(checkpoint_seconds=0, log_steps=2, workers=workers)
    whole, _ = run(prepared, tmp_path / "whole", dropout=0.2)
    with pytest.raises(ConnectionAbortedError):
        run(prepared, tmp_path / "cut", log=stop_after(4), dropout=0.2, runtime=runtime)
    assert same(whole, run(prepared, tmp_path / "cut", dropout=0.2, runtime=runtime)[0])


def train_together(prepared, place, log=lambda m, s: None, watch=lambda phase, objective: None):
    """P and R in turn: {name in "processor" and "recognizer": state dict}."""
    torch.manual_seed(0)
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    recognizer = build_recognizer("shufflenet_v2_x0_5", 3)  # with batch norm
    objective = OBJECTIVES.get("sr4ir")(processor, recognizer, 0.1, recognizer_lr=0.5)
    phases = [
        Phase(p.modules, lambda batch, p=p: (watch(p, objective), p.losses(batch))[1], p.rate)
        for p in objective.phases()
    ]
    objective.phases = lambda: phases
    crops = Crops(open_split(prepared, "train"), build_task("dn"))
    runtime = Runtime(checkpoint_seconds=0, log_steps=2)
    train(objective, crops, SCHEDULE, runtime, CPU, place / "state.pt", {"lr": 1}, log)
    states = {name: module.state_dict() for name, module in objective.modules.items()}
    return states, objective


def test_two_networks_that_are_trained_in_turn_resume_bit_for_bit(prepared, tmp_path):
    whole, _ = train_together(prepared, tmp_path / "whole")
    with pytest.raises(ConnectionAbortedError):
        train_together(prepared, tmp_path / "cut", stop_after(6))
    resumed, _ = train_together(prepared, tmp_path / "cut")
    assert all(same(whole[name], resumed[name]) for name in ("processor", "recognizer"))


def test_in_each_phase_the_other_network_is_fixed(prepared, tmp_path):
    """Evaluation mode, no gradients, not a weight or statistic moves; both learn in the end."""
    kept = []

    def watch(phase, objective):
        before = {n: copy.deepcopy(m.state_dict()) for n, m in objective.modules.items()}
        kept.append((phase.modules[0], before))
        for name, module in objective.modules.items():
            mine = name in phase.modules
            assert module.training == mine
            assert all(parameter.requires_grad == mine for parameter in module.parameters())

    after, objective = train_together(prepared, tmp_path, watch=watch)
    kept.append((None, after))
    names = [name for name, _ in kept]
    assert names == ["processor", "recognizer"] * 10 + [None]
    for (name, before), (_, now) in itertools.pairwise(kept):
        (other,) = before.keys() - {name}
        assert same(before[other], now[other]) and not same(before[name], now[name])
    assert all(m.training for m in objective.modules.values())


def test_workers_do_not_change_the_numbers(prepared, tmp_path):
    one, _ = run(prepared, tmp_path / "a")
    two, _ = run(prepared, tmp_path / "b", runtime=Runtime(workers=2))
    assert same(one, two)


def test_other_settings_begin_anew_beside_the_earlier_state(prepared, tmp_path, capsys):
    with pytest.raises(ConnectionAbortedError):
        run(prepared, tmp_path, settings={"lr": 1, "lambda": 0.1}, log=stop_after(4))
    begun, _ = run(prepared, tmp_path, settings={"lr": 1, "lambda": 0.2})
    said = capsys.readouterr().err
    assert said.count("settings changed (lambda: 0.1 -> 0.2)") == 1 and "resuming" not in said
    assert (tmp_path / "state.old.pt").exists()
    assert same(begun, run(prepared, tmp_path / "new")[0])


def test_a_damaged_state_is_named(prepared, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="state.pt: unreadable resume state"):
        run(prepared, tmp_path)


def test_divergence_stops_with_the_step_and_keeps_the_last_good_state(prepared, tmp_path):
    schedule = Schedule(epochs=2, batch_size=5, optimizer="sgd", lr=1e30, lr_steps=())
    with pytest.raises(Diverged, match="at step 2: training diverged"):
        run(prepared, tmp_path, schedule, runtime=Runtime(log_steps=2))
    assert not (tmp_path / "state.pt").exists()


def test_weights_that_are_no_numbers_are_not_saved(prepared, tmp_path, monkeypatch):
    """Infinite gradients of a finite loss: the state before them stays."""
    step = torch.optim.Adam.step
    calls = iter(range(100))

    def poisoned(self, *arguments):
        step(self, *arguments)
        if next(calls) == 5:
            self.param_groups[0]["params"][0].data[0] = torch.nan

    monkeypatch.setattr(torch.optim.Adam, "step", poisoned)
    with pytest.raises(Diverged, match="block1.0.weight is NaN or infinite at step 6.*state.pt"):
        run(prepared, tmp_path)
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == 5
    assert all(value.isfinite().all() for value in kept["modules"]["processor"].values())


def test_a_diverged_run_has_failed(prepared, tmp_path, monkeypatch, capsys):
    uri = tracking.default_uri(tmp_path)
    monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    command = ["train", "--data", prepared, "--task", "dn", "--l", "0", "--optimizer", "sgd"]
    command += ["--lr", "1e30", "--channels", "4", "--blocks", "1", "--device", "cpu"]
    assert main([str(part) for part in [*command, "--save-dir", tmp_path / "p"]]) == 1
    assert "training diverged" in capsys.readouterr().err
    assert tracking.deliver(uri) == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        assert ("FAILED",) in store.execute("SELECT status FROM runs").fetchall()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adm"}, "optimizer: 'adm' should be 'adam'"),
        ({"lr_schedule": "linear"}, "lr_schedule: 'linear' should be 'step' or 'cosine'"),
        ({"epochs": 0}, "epochs: 0 should be greater than or equal to 1"),
    ],
)
def test_bad_schedules_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        checked(Schedule, settings)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_state_and_ends_with_its_code(prepared, tmp_path, number, code):
    def log(metrics, step):
        if step == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as stopped:
        run(prepared, tmp_path, log=log, runtime=Runtime(checkpoint_seconds=60, log_steps=2))
    assert stopped.value.code == code
    whole, _ = run(prepared, tmp_path / "whole")
    assert same(whole, run(prepared, tmp_path)[0])


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(prepared, tmp_path):
    """The same command line, SIGTERM in between: one line, code 143, the same model."""
    command = [sys.executable, "-m", "ra", "train", "--data", str(prepared), "--task", "dn"]
    command += ["--l", "0", "--channels", "4", "--blocks", "1", "--epochs", "100"]
    command += ["--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0"]

    def start(name):
        return subprocess.Popen(
            [*command, "--save-dir", str(tmp_path / name)], stderr=subprocess.PIPE, text=True
        )

    cut = start("cut")
    while not (tmp_path / "cut/state.pt").exists():
        assert cut.poll() is None, cut.stderr.read()
        time.sleep(0.02)
    cut.terminate()
    _, said = cut.communicate()
    assert cut.returncode == 143 and "run the same command to go on" in said
    assert "Traceback" not in said
    again, whole = start("cut"), start("whole")
    said = again.communicate()[1]
    assert whole.wait() == again.returncode == 0
    assert "resuming from step" in said
    model = "processor.safetensors"
    assert (tmp_path / "cut" / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()
