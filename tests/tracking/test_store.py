"""SQLite stores: created whole; one of another MLflow is named."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys

import pytest

from ra.tracking import deliver as delivery
from ra.tracking import journal as journals
from ra.tracking import run as tracking


def test_half_made_database_is_never_in_place(uri, monkeypatch):
    delivery.store_module()
    database = journals.database_of(uri)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            tracking.prepare_store(uri)
    assert not database.exists() and database.with_name(".mlflow.db.new").exists()
    tracking.prepare_store(uri)
    monkeypatch.setattr(os, "replace", lambda *_: sys.exit("made again"))
    tracking.prepare_store(uri)


def test_a_store_of_a_newer_mlflow_is_named_and_no_job_waits(ready, caplog, no_deliverer):
    with contextlib.closing(sqlite3.connect(journals.database_of(ready))) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'fffffffffff1'")
    with tracking.start_run("one", "train", {}, uri=ready):
        pass
    assert tracking.deliver(ready) == 1
    (line,) = [record.message for record in caplog.records]
    assert "takes no records now (another version of MLflow made mlflow.db: " in line
    assert "found version fffffffffff1, but expected" in line and "mlflow db upgrade" in line
    assert f"they are kept in {journals.spool_of(ready)} and delivered with the next run" in line
