"""The store: what journals say, said to MLflow. Importing this file takes 2 s.

Everything may be repeated at any point: a run is found again by its tag ``ra.run``, and a store
keeps one copy of a metric that comes twice with the same step, time and value.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.artifacts
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.store.db import utils
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from ra.tracking.journal import database_of, is_live, one_line, read, remove
from ra.tracking.models import log_dataset, register

BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow takes this many at once
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # errors that a retry cannot fix
ADDRESSES = {  # columns of a store that hold absolute addresses of artifacts
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


@dataclass
class _State:
    """How far a journal is delivered."""

    position: int = 0
    run: str = ""  # MLflow's id
    dag: str | None = None  # MLflow's id of the run that holds all runs of a ``snakemake`` call
    failures: int = 0


class Store:
    """A connection to one store. Its process holds the spool's lock."""

    def __init__(self, uri: str, spool: Path):
        if database := database_of(uri):
            prepare(database)
        self.client = mlflow.MlflowClient(uri)
        self._spool = spool
        self._artifacts = database and _artifacts(database)
        self._states: dict[Path, _State] = defaultdict(_State)

    def round(self) -> None:
        """Deliver all journals as far as they are written.

        The first failure ends the round. What failed comes last in the next one, so that a journal
        the store chokes on does not hold up the others.
        """
        found = sorted(self._spool.glob("*.jsonl"))
        for path in sorted(found, key=lambda path: self._states[path].failures):
            state, live = self._states[path], is_live(path)
            state.failures += 1
            with contextlib.suppress(FileNotFoundError):  # somebody cleared the spool
                self._deliver(path, state)
                if not live:
                    self._close(path, state)
            state.failures = 0

    def _deliver(self, path: Path, state: _State) -> None:
        """Send what is new in a journal: metrics by blocks of 64 kB, other events one by one."""
        events = read(path, state.position)
        blocks = itertools.groupby(events, lambda item: (item[0]["event"], item[1] >> 16))
        try:
            for (kind, _), block in blocks:
                items = list(block)
                if kind == "metrics":
                    rows = [
                        Metric(_name(key), value, event["time"], event["step"])
                        for event, _ in items
                        for key, value in event["values"].items()
                    ]
                    self._send(state.run, metrics=rows)
                else:
                    for event, _ in items:
                        self._event(state, event)
                state.position = items[-1][1]
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                del self._states[path]  # the run was removed: the whole journal makes it anew
            raise

    def _event(self, state: _State, event: Mapping[str, Any]) -> None:
        try:
            match event["event"]:
                case "start":
                    self._start(state, event)
                case "tags":
                    self._tags(state.run, event["tags"])
                case "artifact" if os.path.exists(event["path"]):
                    self.client.log_artifact(state.run, event["path"], event["folder"] or None)
                case "dataset":
                    log_dataset(self.client, state.run, event)
                case "model" if all(map(os.path.exists, event["files"])):
                    register(self.client, state.run, event)
                case "end":
                    self._end(state, event["status"], event["time"])
                case gone:
                    say(f"{gone}: the files are gone: {event}")
        except MlflowException as error:
            if error.error_code not in REFUSED or event["event"] == "start":
                raise
            say(f"refused: {one_line(error)}")

    def _send(self, run: str, **rows: list) -> None:
        """Send metrics, params or tags; of a refused batch only the bad rows are left out."""
        ((kind, rows),) = rows.items()
        for i in range(0, len(rows), BATCH[kind]):
            batch = rows[i : i + BATCH[kind]]
            try:
                self.client.log_batch(run, **{kind: batch})  # type: ignore[arg-type]
            except MlflowException as error:
                if error.error_code not in REFUSED:
                    raise
                if len(batch) == 1:
                    say(f"refused: {one_line(error)}")
                else:
                    for row in batch:
                        self._send(run, **{kind: [row]})

    def _tags(self, run: str, tags: Mapping[str, str]) -> None:
        self._send(run, tags=[RunTag(_name(key), text[:5000]) for key, text in tags.items()])

    def _start(self, state: _State, event: Mapping[str, Any]) -> None:
        """Create the run, or take up the one that is there."""
        experiment, tags = self._experiment(event["experiment"]), dict(event["tags"])
        parent = event["parent"] and self._find(experiment, event["parent"])
        if dag := tags.get("ra.dag"):
            state.dag = self._find(experiment, dag)
            if not state.dag and not parent:
                state.dag = self._start_dag(experiment, event)
        if event["parent"]:
            tags["ra.parent"] = event["parent"]
        if parent := parent or state.dag:
            tags["mlflow.parentRunId"] = parent
        known: Mapping[str, str] = {}
        if run := self._find(experiment, event["run"]):
            known = self.client.get_run(run).data.params
            self.client.update_run(run, status="RUNNING")
            self._tags(run, tags)
        else:
            created = self.client.create_run(experiment, event["time"], tags, event["name"])
            run = created.info.run_id
        state.run = run
        new = {key: text for key, text in event["params"].items() if key not in known}
        self._send(run, params=[Param(_name(key), text[:6000]) for key, text in new.items()])

    def _start_dag(self, experiment: str, event: Mapping[str, Any]) -> str:
        dag, dataset = event["tags"]["ra.dag"], event["tags"].get("dataset", "")
        tags = {"ra.run": dag, "ra.dag": dag, "ra.kind": "dag", "dataset": dataset}
        tags["mlflow.user"] = event["tags"].get("mlflow.user", "")
        name = f"DAG {dataset} {dag}".replace("  ", " ")
        return self.client.create_run(experiment, event["time"], tags, name).info.run_id

    def _end(self, state: _State, status: str, time_ms: int) -> None:
        """End a run and its DAG's, which has failed if one of its runs has.

        No job knows which is the last of a DAG, so each sets the end anew.
        """
        self.client.set_terminated(state.run, status, time_ms)
        if state.dag and self.client.get_run(state.dag).info.status not in ("FAILED", "KILLED"):
            self.client.set_terminated(state.dag, status, time_ms)

    def _close(self, path: Path, state: _State) -> None:
        """Remove a journal that is delivered; a run that it leaves running was killed."""
        if state.run and self.client.get_run(state.run).info.status == "RUNNING":
            self._end(state, "KILLED", int(path.stat().st_mtime * 1000))
        remove(path)
        del self._states[path]

    def _experiment(self, name: str) -> str:
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        place = f"{self._artifacts}/{name}" if self._artifacts else None
        return self.client.create_experiment(name, place)

    def _find(self, experiment: str, run_id: str) -> str | None:
        """MLflow's id of the run with our id ``run_id``."""
        found = self.client.search_runs([experiment], f"tags.`ra.run` = '{run_id}'", max_results=1)
        return found[0].info.run_id if found else None


def prepare(database: Path) -> None:
    """``prepare_store`` for the process that holds the lock.

    The database is made beside its place and renamed, for MLflow creates it in forty migrations
    that are not one transaction: a kill in between would leave what nothing can open.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    revision = _revision(database)
    known = ScriptDirectory.from_config(utils._get_alembic_config(""))
    if revision != known.get_current_head():
        fresh = database.with_name(f".{database.name}.new")
        fresh.unlink(missing_ok=True)
        if revision:
            try:
                known.get_revision(revision)
            except CommandError:
                raise RuntimeError(
                    f"a newer MLflow made {database.name}; install that version, "
                    "or move the file away"
                ) from None
            with (
                contextlib.closing(sqlite3.connect(database)) as old,
                contextlib.closing(sqlite3.connect(fresh)) as new,
            ):
                old.backup(new)  # rather than a copy: nobody may write in the middle of it
            engine = utils.create_sqlalchemy_engine(f"sqlite:///{fresh}")
            utils._upgrade_db(engine)
            engine.dispose()
        SqlAlchemyStore(f"sqlite:///{fresh}", f"{_artifacts(database)}/Default").engine.dispose()
        os.replace(fresh, database)
    _mend(database)


def _revision(database: Path) -> str | None:
    """The schema version of an existing database; None if there is none."""
    if not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def _artifacts(database: Path) -> str:
    return (database.parent / "mlartifacts").as_uri()


def _mend(database: Path) -> None:
    """Let the absolute addresses of artifacts that MLflow keeps name the folder as it is now."""
    here = _artifacts(database)

    def moved(address: str | None) -> str | None:
        if not address or not re.match("file:///.*/mlartifacts/", address):
            return address
        return f"{here}/{address.rpartition('/mlartifacts/')[2]}"

    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.create_function("moved", 1, moved)
        for table, columns in ADDRESSES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = moved({column}) "
                    f"WHERE {column} != moved({column})"
                )


def download(uri: str, store: str) -> Path:
    """The local folder of a ``models:/`` or ``runs:/`` model of ``store``."""
    if uri.startswith("models:/"):  # MLflow would look for it in its default store
        client = mlflow.MlflowClient(store, store)
        version = get_model_name_and_version(client, uri)
        uri = client.get_model_version_download_uri(*version)
    return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=store))


def say(line: str) -> None:
    """One line for the spool's log."""
    print(time.strftime("%F %T"), line, file=sys.stderr, flush=True)


def _name(key: str) -> str:
    """``key`` with the characters MLflow takes in names."""
    return re.sub(r"[^\w./ -]", "_", key)[:250]
