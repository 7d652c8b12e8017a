"""Journals: whole after kills, on full disks, without file locks; no secret in a message."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import signal
import time
from pathlib import Path

import pytest

from ra.tracking import journal as journals
from ra.tracking import run as tracking
from ra.tracking.journal import Journal


def test_no_place_for_the_journal(tmp_path, caplog, monkeypatch, no_deliverer):
    (tmp_path / "file").write_text("")
    with tracking.start_run("x", "train", {}, uri=f"sqlite:///{tmp_path}/file/store.db") as run:
        run.log_metrics({"loss": 1}, step=1)
    assert run.run_id is None and caplog.text.count("tracking is off: cannot write to") == 1


def test_a_disk_full_at_the_first_event_turns_tracking_off(uri, caplog, monkeypatch):
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
        with tracking.start_run("x", "train", {}, uri=uri) as run:
            run.log_metrics({"loss": 1}, step=1)
    (record,) = caplog.records
    assert "tracking is off" in record.message and "No space left on device" in record.message
    assert list(journals.spool_of(uri).iterdir()) == [] and tracking.deliver(uri) == 0


def test_a_journal_whose_session_was_killed_before_its_start_is_removed(ready):
    spool = journals.spool_of(ready)
    spool.mkdir(parents=True)
    (spool / "0000000000001-x.jsonl").write_text('{"event": "sta')
    assert tracking.deliver(ready) == 0


def test_full_disk_costs_records_not_the_training(tmp_path, caplog, monkeypatch):
    journal = Journal(tmp_path, "r", {})
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
        journal.write("tags", tags={"a": 1})
        journal.write("tags", tags={"b": 1})
    journal.write("tags", tags={"c": 1})
    assert [event.get("tags") for event, _ in journals.read(journal.path)] == [None, {"c": 1}]
    assert caplog.text.count("No space left on device") == 1
    journal.close()


def test_journal_lines_are_plain_json(tmp_path):
    journal = Journal(tmp_path, "r", {"odd": Path("a\r\nb\u2028")})
    journal.write("metrics", step=1, values={"inf": math.inf})
    lines = journal.path.read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "metrics"]


@pytest.mark.parametrize("code", [0, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_session_is_live_until_it_ends_also_without_flock(tmp_path, monkeypatch, code):
    def missing(*_):
        raise OSError(code, os.strerror(code))

    if code:
        monkeypatch.setattr(fcntl, "flock", missing)
    journal = Journal(tmp_path, "r", {})
    assert journals.is_live(journal.path)
    if pid := os.fork():  # as a loader worker has it
        os.kill(pid, signal.SIGSTOP)
        journal.close()
        assert not journals.is_live(journal.path)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    else:
        time.sleep(60)
    assert list(tmp_path.iterdir()) == [journal.path]
    if pid := os.fork():
        os.waitpid(pid, 0)
        (killed,) = set(tmp_path.glob("*.jsonl")) - {journal.path}
        assert not journals.is_live(killed)
    else:
        Journal(tmp_path, "killed", {})
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("http://user:se/cr et@host:5000/a", "http://host:5000"),
        ("http://user:se?cr@et@host", "http://host"),
        ("postgresql://host/db?user=a&password=se/cr@et", "postgresql://host"),
        ("sqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_a_store_is_shown_without_secrets(uri, store):
    assert journals.shown(uri) == store
    assert "cr" not in journals.redact(f"no answer from {uri}/api")
