"""A full disk, a read-only one, no permission, no memory: one line, and the rerun goes on."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, clean_environment, snakemake, write_images

from ra.cli import main
from ra.errors import UserError, one_line
from ra.files import alone, atomic
from ra.jobs import train as train_job

TINY = ["--device", "cpu", "--channels", "4", "--blocks", "1", "--epochs", "20"]


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB; ``fill`` leaves some kB of it."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, left_kb: int = 0) -> Path:
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize - left_kb * 1024))
    return filler


def run(capsys, *arguments) -> tuple[int, str]:
    code = main([str(part) for part in arguments])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if "error:" in line]
    assert len(errors) == (code != 0), said
    return code, errors[0] if errors else said


def train(prepared, out, *more):
    return [
        "train",
        "--data",
        prepared,
        "--task",
        "dn",
        "--l",
        "0",
        *TINY,
        "--save-dir",
        out,
        *more,
    ]


@pytest.mark.parametrize("left_kb", [0, 4, 24, 64])
def test_prepare_on_a_full_disk_goes_on_when_there_is_room(folder, disk, capsys, left_kb):
    """24 images of 24x20 pixels take 35 kB, their manifest 3 kB."""
    command = ["prepare", "--data", folder, "--save-dir", disk / "data", "--resize", "20"]
    command += ["--crop", "16"]
    filler = fill(disk, left_kb)
    code, said = run(capsys, *command)
    if left_kb < 64:
        assert code == 1 and "No space left on device; free some space" in said
        assert f"error: {disk}/data" in said and not (disk / "data/dataset.json").exists()
    filler.unlink()
    assert run(capsys, *command)[0] == 0 and (disk / "data/dataset.json").exists()


@pytest.mark.parametrize("left_kb", [0, 4, 16, 40])
def test_a_training_on_a_full_disk_keeps_its_last_state(prepared, disk, tmp_path, capsys, left_kb):
    out = disk / "out"
    command = train(prepared, out, "--checkpoint-seconds", "0")
    assert run(capsys, *train(prepared, tmp_path / "whole"))[0] == 0
    filler = fill(disk, left_kb)
    code, said = run(capsys, *command)
    assert code == 1 and "No space left on device; free some space" in said
    assert f"error: {out}" in said
    if (out / "state.pt").exists():
        assert torch.load(out / "state.pt", weights_only=True)["step"] > 0
    assert not (out / "processor.safetensors").exists()
    filler.unlink()
    assert run(capsys, *command)[0] == 0
    model = "processor.safetensors"
    assert (out / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()


def test_an_evaluation_on_a_full_disk_leaves_the_earlier_one(prepared, disk, capsys):
    command = ["evaluate", "--data", prepared, "--model-sr", "none", "--task", "dn"]
    command += ["--recognizers", "none", "--device", "cpu", "--save-dir", disk]
    earlier = disk / "evaluation.csv"
    earlier.write_text("earlier\n")
    fill(disk)
    with pytest.raises(OSError, match="No space left") as caught, atomic(earlier) as temporary:
        temporary.write_bytes(bytes(100_000))
    assert one_line(caught.value).startswith(f"{earlier}: No space left on device; free some")
    assert earlier.read_text() == "earlier\n" and len(list(disk.iterdir())) == 2


@pytest.fixture
def read_only(disk):
    """A place that cannot be written, for root as well."""
    (disk / "results").mkdir()
    (disk / "results/earlier.csv").write_text("earlier\n")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    yield disk
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def test_results_that_are_read_only_are_named(read_only, folder, prepared, capsys):
    for command in (
        train(prepared, read_only / "results/p"),
        ["prepare", "--data", folder, "--save-dir", read_only / "results/data", "--crop", "16"],
    ):
        code, said = run(capsys, *command, "--resize", "20")
        assert code == 1 and f"error: {read_only}/results/" in said
        assert "Read-only file system; choose a folder that can be written" in said


def test_snakemake_in_a_read_only_folder_is_a_short_message(read_only):
    """Snakemake itself would answer with a traceback."""
    done = snakemake(read_only, "--configfile", ROOT / "config.yaml")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert f"{read_only}: read-only; Snakemake keeps its records in this folder" in said
    assert (read_only / "results/earlier.csv").read_text() == "earlier\n"


def test_read_only_results_are_one_line_before_any_job(read_only, tmp_path):
    results = f"results={read_only}/results/new"
    done = snakemake(tmp_path, "--configfile", ROOT / "config.yaml", "--config", results)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert f"{read_only}/results/new: Read-only file system; choose a folder" in said


def test_no_permission_is_one_line(prepared, tmp_path):
    """As another user, for root may do everything."""
    if os.getuid():
        pytest.skip("only root may become another user")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    # Imported before, for the interpreter may be where only root can read.
    nobody = "import os, sys, ra.jobs.prepare, ra.cli; os.setuid(65534); sys.exit(ra.cli.main())"
    command = [sys.executable, "-c", nobody, "prepare", "--data", closed, "--save-dir", closed]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)}, cwd="/",
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "/train: Permission denied; check the permissions" in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory; choose a smaller --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory; "),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "fewer --workers"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied; check"),
        (UserError("a.csv: is none"), "a.csv: is none"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_the_machine_refuses_is_one_line(monkeypatch, capsys, tmp_path, error, says):
    def refuse(*_):
        raise error

    monkeypatch.setattr("ra.jobs.tables.write_tables", refuse)
    assert main(["table", "--evaluations", "x", "--save-dir", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ra table: error: ") and says in line


def test_batch_norm_of_a_single_value_is_one_line():
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        torch.nn.BatchNorm2d(1)(torch.zeros(1, 1, 1, 1))
    assert one_line(caught.value).startswith("batch norm needs more than one value per channel")


def test_torch_without_memory_is_one_line(capsys, monkeypatch, prepared, tmp_path):
    def huge(*_, **__):
        return torch.empty(2**60)

    monkeypatch.setattr(train_job, "start_processor", huge)
    code, said = run(capsys, *train(prepared, tmp_path))
    assert code == 1 and "out of memory" in said


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, tmp_path):
    def fault(*_):
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("ra.jobs.tables.write_tables", fault)
    with pytest.raises(KeyError):
        main(["table", "--evaluations", "x", "--save-dir", str(tmp_path)])


def test_two_processes_do_not_train_in_one_folder(prepared, tmp_path, capsys):
    with alone(tmp_path):
        code, said = run(capsys, *train(prepared, tmp_path))
        assert code == 1 and f"{tmp_path}: another process is at work in it" in said
    assert run(capsys, *train(prepared, tmp_path))[0] == 0


def test_a_second_snakemake_is_told_so(tmp_path):
    write_images(tmp_path / "photos", train=1, val=1)
    with alone(tmp_path / "results"):
        done = snakemake(tmp_path, "--configfile", ROOT / "config.yaml")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "results: another process is at work in it" in said
