"""Files appear whole or not at all, and one process at a time works in a folder."""

import errno
import fcntl
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from filelock import Timeout

from ra import files
from ra.errors import UserError, one_line
from ra.files import alone, locked, write_text

GONE = 4194305  # above the largest process id


def leave(folder: Path, process: int, host: str = files.HOST) -> Path:
    """What a killed ``process`` left of its writing."""
    path = folder / f".b.ra-{process}-{host}.csv"
    path.write_text("half")
    return path


def test_what_a_kill_left_in_a_folder_goes_at_the_next_writing(tmp_path):
    left = leave(tmp_path, GONE)
    kept = [leave(tmp_path, os.getppid()), leave(tmp_path, GONE, "another-machine")]
    kept.append(tmp_path / ".notes.4194305.csv")
    kept[-1].write_text("the user's own")
    write_text(tmp_path / "a.csv", "whole")
    assert not left.exists()
    assert set(tmp_path.iterdir()) == {tmp_path / "a.csv", *kept}


def test_a_folder_is_listed_once_however_many_files_are_written(tmp_path, monkeypatch):
    listed = []
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or listing(path))
    for number in range(5):
        write_text(tmp_path / f"{number}.json", "{}")
        write_text(tmp_path / "deeper" / f"{number}.json", "{}")
    assert listed == [tmp_path, tmp_path / "deeper"]


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def disk_without_locks(request, monkeypatch):
    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def hold(folder, ready):
    with alone(folder):
        ready.set()
        signal.pause()


def test_a_disk_without_locks_has_files_that_name_the_process(disk_without_locks, tmp_path):
    with alone(tmp_path):
        note = tmp_path / ".lock.pid"
        assert note.read_text().splitlines()[0] == str(os.getpid())
        with pytest.raises(
            UserError, match=r"another process is at work in it; .* delete .*/\.lock\.pid$"
        ):
            with alone(tmp_path):
                pass
    with alone(tmp_path):  # freed
        pass
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    job = fork.Process(target=hold, args=(tmp_path, ready))
    job.start()
    assert ready.wait(10)
    with pytest.raises(UserError, match="another process is at work"), alone(tmp_path):
        pass
    job.kill()
    job.join()
    with alone(tmp_path):  # a killed process holds nothing
        pass


def test_a_lock_that_fails_otherwise_names_its_file(monkeypatch, tmp_path):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output") as caught, locked(tmp_path / "x.lock"):
        pass
    assert one_line(caught.value) == f"{tmp_path}/x.lock: Input/output error"


def test_a_lock_is_held_by_one(tmp_path):
    with locked(tmp_path / "x"):
        with pytest.raises(Timeout), locked(tmp_path / "x"):
            pass
    with locked(tmp_path / "x"):
        pass
