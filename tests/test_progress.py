"""Progress: plain lines in a log, a status file that ``ra watch`` shows, silence on request."""

import io
import json
import os
import subprocess
import sys

import pytest

from ra import progress
from ra.cli import main
from ra.jobs.watch import Block, watch
from ra.progress import Progress, line, quiet, quieted, running


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
        states = running(tmp_path)
        assert [state["name"] for state in states] == ["job"] and "job" in line(states[0])
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
    path = tmp_path / f"{host}-{child.stdout.strip()}.json"
    path.write_text(json.dumps({"name": "dead", "time": 9e9}))
    torn = tmp_path / f"{host}-{os.getpid()}.json"
    torn.write_text('{"name"')
    assert running(tmp_path) == [] and not path.exists() and torn.exists()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_watch_passes_a_command_on_with_its_status(tmp_path):
    code = (
        "import os, sys; print(os.environ['RA_PROGRESS']); print('oops', file=sys.stderr); exit(3)"
    )
    out = io.StringIO()
    assert watch(tmp_path / "p", [sys.executable, "-c", code], out) == 3
    assert out.getvalue().split() == [str(tmp_path / "p"), "oops"]


def test_watch_tells_how_many_jobs_are_done_of_all(tmp_path):
    code = "import time; print('3 of 12 steps (25%) done', flush=True); time.sleep(1.5)"
    out = Terminal()
    assert watch(tmp_path / "p", [sys.executable, "-c", code], out) == 0
    assert "jobs  25%  3 of 12 done\n" in out.getvalue()


def test_watch_draws_a_line_a_job_below_what_is_said():
    out = Terminal()
    block = Block(out)
    block.draw(["one", "two"])
    block.above("said")
    block.draw([])
    assert screen(out.getvalue()) == ["said", ""]
    block.draw(["one"])
    assert screen(out.getvalue()) == ["said", "one", ""]


def screen(text):
    """What a terminal shows: the two movements that Block makes, carried out."""
    lines = [""]
    while text:
        if text.startswith("\x1b["):
            number, _, text = text[2:].partition("A")
            lines = [*lines[: len(lines) - 1 - int(number)], ""]
            text = text.removeprefix("\x1b[J")
        elif text[0] == "\n":
            lines, text = [*lines, ""], text[1:]
        else:
            lines[-1], text = lines[-1] + text[0], text[1:]
    return lines


def test_watch_draws_no_more_lines_than_the_terminal_has(monkeypatch):
    """Or else every redraw scrolls all of them: 200 jobs were 10,000 lines a minute."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    out = Terminal()
    block = Block(out)
    jobs = [f"job {number}" for number in range(200)]
    for _ in range(3):
        block.above("said")
        block.draw(jobs)
    shown = screen(out.getvalue())
    assert shown[:3] == ["said"] * 3 and shown[-2:] == ["... and 179 more", ""]
    assert len(shown) == 3 + 22 + 1
    block.draw(jobs[:22])
    assert screen(out.getvalue())[-2:] == ["job 21", ""]


def test_watch_alone_aligns_names_and_says_when_nothing_runs(tmp_path, capsys, monkeypatch):
    folder = tmp_path / ".progress"
    assert main(["watch", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no job is running ({folder})\n"
    for number, name in enumerate(("long name", "short")):
        state = {"name": name, "percent": 50, "epochs": 0, "eta": 9, "note": "", "rate": 0}
        child = f"elsewhere-{number}.json"
        folder.mkdir(exist_ok=True)
        (folder / child).write_text(json.dumps({**state, "time": 9e9}))
    assert main(["watch", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["long name   50%  00:09 left", "short       50%  00:09 left"]


def test_watch_alone_tells_a_pipe_the_state_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(progress.FOLDER, str(tmp_path / ".progress"))
    with Progress(total=4, name="job", images=10) as bar:
        bar.update()
        assert main(["watch", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("job ")
