"""The store: what journals say, said to MLflow. Importing this file takes 2 s.

Everything may be repeated at any point: a run is found again by its tag ``ra.run``, and a store
keeps one copy of a metric that comes twice with the same step, time and value.
"""

import contextlib
import itertools
import logging
import os
import posixpath
import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pandas as pd
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from PIL import Image, UnidentifiedImageError

from ra.tracking.journal import database_of, is_live, one_line, read, remove
from ra.tracking.models import log_dataset, register

_log = logging.getLogger("ra")
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI's view for model training
TABLE_ROWS = 1000  # of a CSV file that is shown as a table
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # errors that a retry cannot fix
ADDRESSES = (  # tables and columns of a store that hold absolute addresses of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass
class _State:
    """How far a journal is delivered."""

    position: int = 0
    run: str = ""  # MLflow's id
    experiment: str = ""
    failures: int = 0


class Store:
    """A connection to one store. Its process holds the spool's lock."""

    def __init__(self, uri: str, spool: Path):
        self._database = database_of(uri)
        self._inode = prepare(self._database) if self._database else None
        self.client = mlflow.MlflowClient(uri)
        self._spool = spool
        self._states: dict[Path, _State] = defaultdict(_State)

    def in_place(self) -> bool:
        """Whether the file of a SQLite store was not removed; MLflow would go on writing to it."""
        with contextlib.suppress(FileNotFoundError):
            return self._database is None or self._database.stat().st_ino == self._inode
        return False

    def round(self) -> None:
        """Deliver all journals as far as they are written.

        The first failure ends the round. What failed comes last in the next one, so that a journal
        the store chokes on does not hold up the others.
        """
        found = sorted(self._spool.glob("*.jsonl"))
        for path in sorted(found, key=lambda path: self._states[path].failures):
            state, live = self._states[path], is_live(path)
            state.failures += 1
            self._deliver(path, state)
            if not live:
                self._close(path, state)
            state.failures = 0

    def _deliver(self, path: Path, state: _State) -> None:
        """Send what is new in a journal, metrics by blocks of 64 kB.

        A block that the store refuses, or a damaged file, is left out: again cannot help.
        """
        events = read(path, state.position)
        blocks = itertools.groupby(events, _block)
        for (kind, _), block in blocks:
            items = list(block)
            try:
                if kind == "metrics":
                    self._metrics(state.run, [event for event, _ in items])
                else:
                    self._event(state, items[0][0])
            except (MlflowException, ValueError, UnidentifiedImageError) as error:
                if getattr(error, "error_code", REFUSED[0]) not in REFUSED or kind == "start":
                    raise
                _log.warning("refused: %s", one_line(error))
            state.position = items[-1][1]

    def _metrics(self, run: str, events: list[Mapping[str, Any]]) -> None:
        rows = [
            Metric(_name(key), value, event["time"], event["step"])
            for event in events
            for key, value in event["values"].items()
        ]
        for i in range(0, len(rows), 1000):  # MLflow takes so many at once
            self.client.log_batch(run, metrics=rows[i : i + 1000])

    def _event(self, state: _State, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "start":
                self._start(state, event)
            case "tags":
                self._texts(state.run, {}, event["tags"])
            case "artifact" | "table" if os.path.exists(event["path"]):
                self._file(state.run, Path(event["path"]), event)
            case "headline":
                if run := self._find(state.experiment, event["run"]):
                    self._metrics(run, [event])
            case "dataset":
                log_dataset(self.client, state.run, event)
            case "model" if all(map(os.path.exists, event["files"])):
                register(self.client, state.run, event)
            case "end":
                self.client.set_terminated(state.run, event["status"], event["time"])
            case gone:
                _log.warning("%s: the files are gone: %s", gone, event)

    def _file(self, run: str, path: Path, event: Mapping[str, Any]) -> None:
        """A file; tables and pictures where the UI shows them, once."""
        picture, time = path.suffix == ".png", event["time"]
        if not picture and event["event"] != "table":
            return self.client.log_artifact(run, str(path), event["folder"] or None)
        name = f"{path.stem}+step+0+timestamp+{time}+" if picture else f"{path.stem}.json"
        there = self.client.list_artifacts(run, "images" if picture else None)
        if any(posixpath.basename(one.path).startswith(name) for one in there):
            return None
        if picture:
            with Image.open(path) as image:
                self.client.log_image(run, image, key=path.stem, timestamp=time)
        else:
            self.client.log_table(run, pd.read_csv(path, nrows=TABLE_ROWS), name)

    def _texts(self, run: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        labels = [RunTag(_name(key), text[:5000]) for key, text in tags.items()]
        self.client.log_batch(run, tags=labels)
        rows = [Param(_name(key), text[:6000]) for key, text in params.items()]
        for i in range(0, len(rows), 100):  # MLflow takes so many at once
            self.client.log_batch(run, params=rows[i : i + 100])

    def _start(self, state: _State, event: Mapping[str, Any]) -> None:
        """Create the run, or take up the one that is there."""
        experiment, tags = self._experiment(event["experiment"]), dict(event["tags"])
        parent = event["parent"] and self._find(experiment, event["parent"])
        if parent:
            tags["mlflow.parentRunId"] = parent
        known: Mapping[str, str] = {}
        if run := self._find(experiment, event["run"]):
            known = self.client.get_run(run).data.params
            self.client.update_run(run, status="RUNNING")
        else:
            created = self.client.create_run(experiment, event["time"], tags, event["name"])
            run = created.info.run_id
        state.run, state.experiment = run, experiment
        new = {key: text for key, text in event["params"].items() if _name(key) not in known}
        self._texts(run, new, tags)

    def _close(self, path: Path, state: _State) -> None:
        """Remove a journal that is delivered; a run that it leaves running was killed."""
        if state.run and self.client.get_run(state.run).info.status == "RUNNING":
            last = int(path.stat().st_mtime * 1000)
            self.client.set_terminated(state.run, "KILLED", last)
        remove(path)
        del self._states[path]

    def _experiment(self, name: str) -> str:
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        place = f"{_artifacts(self._database)}/{name}" if self._database else None
        return self.client.create_experiment(name, place, KIND)

    def _find(self, experiment: str, run_id: str) -> str | None:
        """MLflow's id of the run with our id ``run_id``."""
        found = self.client.search_runs([experiment], f"tags.`ra.run` = '{run_id}'", max_results=1)
        return found[0].info.run_id if found else None


def _block(item: tuple[Mapping[str, Any], int]) -> tuple[str, int]:
    event, position = item
    return event["event"], position >> 16 if event["event"] == "metrics" else position


def prepare(database: Path) -> int:
    """``prepare_store`` for the process that holds the lock; returns the file's inode.

    The database is made beside its place and renamed, for MLflow creates it in forty migrations
    that are not one transaction: a kill in between would leave what nothing can open.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    if not database.exists():
        fresh = database.with_name(f".{database.name}.new")
        fresh.unlink(missing_ok=True)
        _open(fresh, _artifacts(database))
        os.replace(fresh, database)
    try:
        _open(database, _artifacts(database))
    except MlflowException as error:  # says 'mlflow db upgrade', which helps if that is older
        reason = f"another version of MLflow made {database.name}: {one_line(error)}"
        raise RuntimeError(reason) from None
    # MLflow keeps absolute addresses of artifacts: let them name the folder as it is now.
    here = database.parent.as_uri()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in ADDRESSES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, instr({column}, ?)) "
                f"WHERE {column} LIKE 'file:///%/mlartifacts/%' AND instr({column}, ?) != 1",
                [here, "/mlartifacts/", f"{here}/mlartifacts/"],
            )
    return database.stat().st_ino


def _open(database: Path, artifacts: str) -> None:
    SqlAlchemyStore(f"sqlite:///{database}", f"{artifacts}/Default").engine.dispose()


def _artifacts(database: Path) -> str:
    return (database.parent / "mlartifacts").as_uri()


def download(uri: str, store: str) -> Path:
    """The local folder of a ``models:/`` or ``runs:/`` model of ``store``."""
    if uri.startswith("models:/"):  # MLflow would look for it in its default store
        client = mlflow.MlflowClient(store, store)
        version = get_model_name_and_version(client, uri)
        uri = client.get_model_version_download_uri(*version)
    return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=store))


def _name(key: str) -> str:
    """``key`` as MLflow takes it: its characters, and no path such as ``../x``."""
    return posixpath.normpath("/" + re.sub(r"[^\w./ -]", "_", key)).strip("/")[:250] or "_"
