"""Progress: plain lines in a log, a status file that ``ra watch`` shows, silence on request."""

import io
import os
import subprocess
import sys
import time

import pytest

from ra import progress
from ra.cli import main
from ra.jobs import watch
from ra.progress import Progress, quiet, quieted, running


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.delenv(progress.FOLDER, raising=False)
    monkeypatch.delenv(progress.QUIET, raising=False)


def work(steps=20):
    bar = Progress(total=steps, name="sr ra l=0.001", images=8, epochs=2, unit="step")
    with bar:
        for _ in range(steps):
            bar.update()
            bar.set_postfix(image="0.1", refresh=False)
    return bar


def test_a_log_gets_whole_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_S", 0)
    work()
    said = capsys.readouterr().err
    assert said.endswith("\n") and "\r" not in said and "\x1b" not in said
    last = said.splitlines()[-1]
    assert last.startswith("sr ra l=0.001  100%  epoch 2/2") and "images/s" in last
    assert "image=0.1" in last and said.count("100%") == 1


def test_a_job_that_failed_does_not_say_100(capsys):
    def fail():
        with Progress(total=9, name="x") as bar:
            bar.update(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "100%" not in capsys.readouterr().err


def test_quiet_is_silent_and_still_tells_watch(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(progress.QUIET, "1")
    work()
    monkeypatch.setenv(progress.FOLDER, str(tmp_path))
    with Progress(total=4, name="job", images=10) as bar:
        bar.update()
        [(name, state)] = running(tmp_path)
        assert name == "job" and state.startswith(("  0%", " 25%"))
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""


def test_quiet_ends_with_the_call(monkeypatch, tmp_path, capsys):
    """Also in a notebook, where one process makes many calls, and after an error."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, flags in zip(folders, (["--quiet"], []), strict=True):
        folder.mkdir()
        assert main(["process", *flags, "--model", "none", str(folder), str(tmp_path)]) == 1
        assert not quiet()
    assert str(folders[1]) in capsys.readouterr().err
    monkeypatch.setenv(progress.QUIET, "1")
    with quieted(False):
        assert quiet()
    with quieted():
        pass
    assert quiet()


def test_all_but_one_process_are_silent(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv(progress.FOLDER, str(tmp_path))
    with Progress(total=4, name="job", shown=False) as bar:
        bar.update(4)
        assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


def test_the_file_of_a_dead_job_is_removed(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    host = os.uname().nodename
    path = tmp_path / f"{host}-{child.stdout.strip()}.status"
    path.write_text("dead\n50%")
    old = tmp_path / "elsewhere-1.status"
    old.write_text("old\n50%")
    os.utime(old, (0, 0))
    assert running(tmp_path) == [] and not path.exists() and not old.exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def write_jobs(folder, names):
    folder.mkdir()
    for number, name in enumerate(names):
        (folder / f"elsewhere-{number}.status").write_text(f"{name}\n 50%  00:09 left")


def test_watch_shows_the_state_of_the_jobs_and_fits_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    write_jobs(tmp_path / ".progress", [f"job {number:03d}" for number in range(200)])
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(watch.time, "sleep", interrupt_after(2))
    assert main(["watch", "--results", str(tmp_path)]) == 0
    *_, last = out.getvalue().split("\x1b[H\x1b[2J")
    lines = last.splitlines()
    assert lines[0] == "job 000   50%  00:09 left" and lines[-1] == "... and 178 more"
    assert len(lines) == 23 and out.getvalue().count("job 000") == 2


def interrupt_after(times):
    left = iter(range(times - 1))

    def sleep(_):
        if next(left, None) is None:
            raise KeyboardInterrupt

    return sleep


def test_watch_aligns_names_and_says_when_nothing_runs(tmp_path, capsys):
    assert main(["watch", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no job is running ({tmp_path / '.progress'})\n"
    write_jobs(tmp_path / ".progress", ["long name", "short"])
    assert main(["watch", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["long name   50%  00:09 left", "short       50%  00:09 left"]


def test_watch_shows_how_many_jobs_are_done(tmp_path, capsys):
    folder, log = tmp_path / ".progress", tmp_path / "snakemake.log"
    write_jobs(folder, ["job"])
    log.write_text("total     34\n")
    for host in (progress.socket.gethostname(), "elsewhere"):
        note = folder / f"{host}-{os.getpid()}.log"
        note.write_text(str(log))
        os.utime(note, (time.time() - 120,) * 2)
    log.write_text("total     34\n1 of 34 steps (3%) done\n12 of 34 steps (35%) done\n")
    assert main(["watch", "--results", str(tmp_path)]) == 0
    first, second, job = capsys.readouterr().out.splitlines()
    assert first == second == "12 of 34 jobs done, about 03:40 left" and job.startswith("job ")
    log.write_text("total     34\n")
    assert main(["watch", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 of 34 jobs done\n")


def test_watch_tells_a_pipe_the_state_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(progress.FOLDER, str(tmp_path / ".progress"))
    with Progress(total=4, name="job", images=10) as bar:
        bar.update()
        assert main(["watch", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("job ")
