"""SQLite stores: created whole, migrated from an older MLflow, refused from a newer one."""

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
    store, database = delivery.store_module(), journals.database_of(uri)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            tracking.prepare_store(uri)
    assert not database.exists() and database.with_name(".mlflow.db.new").exists()
    tracking.prepare_store(uri)
    assert store._revision(database)
    monkeypatch.setattr(os, "replace", lambda *_: sys.exit("made again"))
    tracking.prepare_store(uri)


def test_an_older_database_is_migrated_with_what_is_in_it(uri, tmp_path):
    store, database = delivery.store_module(), tmp_path / "results/mlflow.db"
    from alembic import command
    from mlflow.store.tracking.dbmodels.initial_models import Base

    database.parent.mkdir()
    engine = store.utils.create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    config = store.utils._get_alembic_config(uri)
    head = store.ScriptDirectory.from_config(config).get_revision("head")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, head.down_revision)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (name, lifecycle_stage) VALUES ('mine', 'active')"
        )
    assert store._revision(database) == head.down_revision
    tracking.prepare_store(uri)
    assert store._revision(database) == head.revision
    assert store.mlflow.MlflowClient(uri).get_experiment_by_name("mine")


def test_a_store_of_a_newer_mlflow_is_named_once_and_no_job_waits(
    ready, monkeypatch, caplog, no_deliverer
):
    with contextlib.closing(sqlite3.connect(journals.database_of(ready))) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'fffffffffff1'")
    monkeypatch.setattr(tracking, "CHECK_S", 0)
    monkeypatch.setattr(delivery, "LINGER_S", -1)
    for name in ("one", "two"):
        with tracking.start_run(name, "train", {}, uri=ready) as run:
            if name == "one":
                delivery._work(ready, run._journal.path.parent)
    assert [record.message.split(" takes")[1] for record in caplog.records] == [
        " no records now (a newer MLflow made mlflow.db; install that version, or move the file "
        f"away); they are kept in {journals.spool_of(ready)} and delivered with the next run"
    ]
    assert tracking.deliver(ready) == 2
