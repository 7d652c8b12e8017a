"""The store side of the tracking: the courier process. With ``ra.tracking.models`` the only file
that imports MLflow.

The courier reads the journals of a spool and delivers them. Delivery may be repeated at any point:
a run is found again by its tag ``ra.run``, and a store keeps one copy of a metric that comes twice
with the same step, time and value. MLflow is imported inside functions, for that takes 2 s.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ra.tracking import journal as spools
from ra.tracking.journal import strip_credentials
from ra.tracking.models import log_dataset, register

POLL_S = 0.1  # a courier looks this often for journals that ended
FLUSH_S = 2.0  # it sends what a running session wrote at most this often
LINGER_S = 15.0  # it stays this long without a running session: the next job needs no new one
BATCH = 1000  # MLflow takes this many metrics at once, and a tenth as many parameters or tags
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # what no second attempt makes better


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    prefix, _, rest = uri.partition("sqlite:///")
    return Path(rest.partition("?")[0]) if rest and not prefix else None


def absolute(uri: str) -> str:
    """A SQLite URI with an absolute path: the courier and other jobs must mean the same file."""
    database = database_of(uri)
    return f"sqlite:///{database.absolute()}" if database else uri


def prepare_store(uri: str) -> None:
    """Create or migrate the database of a SQLite store, once; other stores see to it themselves.

    The database is made beside its place and renamed, for MLflow creates it in forty migrations
    that are not one transaction: a kill in between would leave what nothing can open. Couriers
    call this; a job need not. Imports MLflow.
    """
    database = database_of(absolute(uri))
    if not database:
        return
    _quiet()
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with _locked(database):
        revision = _revision(database)
        if revision == utils._get_latest_schema_revision():
            return
        fresh = database.with_name(f".{database.name}.new")
        fresh.unlink(missing_ok=True)
        if revision:
            with (
                contextlib.closing(sqlite3.connect(database)) as old,
                contextlib.closing(sqlite3.connect(fresh)) as new,
            ):
                old.backup(new)  # rather than a copy: nobody may write in the middle of it
            engine = utils.create_sqlalchemy_engine(f"sqlite:///{fresh}")
            utils._upgrade_db(engine)
            engine.dispose()
        SqlAlchemyStore(f"sqlite:///{fresh}", _artifacts(database, "Default")).engine.dispose()
        os.replace(fresh, database)


def _revision(database: Path) -> str | None:
    """The schema version of an existing database; None if there is none."""
    if not database.exists():
        return None
    with contextlib.closing(sqlite3.connect(database)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def _artifacts(database: Path, experiment: str) -> str:
    return (database.parent / "mlartifacts" / experiment).as_uri()


def _locked(database: Path | None) -> contextlib.AbstractContextManager:
    """One writer at a time for a SQLite store: never "database is locked" among couriers.

    The lock stands in for SQLite's write-ahead log, which cannot be used on a network file
    system and would leave rows outside mlflow.db after a kill. Readers wait for each other as is.
    """
    if not database:
        return contextlib.nullcontext()
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=120)


def _quiet() -> None:
    """No telemetry, no chatter, short waits, unless the user chose so. Before MLflow's import."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # The courier tries again itself, and looks first whether a lost answer's run was created.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def main(spool: Path, uri: str) -> None:
    """The courier: deliver the journals of ``spool`` to ``uri`` until none is written any more.

    It leaves if another one is at work, or if its spool or database is removed under it.
    """
    store, database = strip_credentials(uri), database_of(uri)
    place = spools.courier_lock(spool, store)
    lock = FileLock(place, timeout=1)  # another process holds it for a moment just to look
    try:
        lock.acquire()
    except Timeout:
        return
    mine = _inode(place)
    courier, failures, busy = None, 0, time.monotonic()
    while time.monotonic() - busy < LINGER_S and _inode(place) == mine:
        found = spools.journals(spool, store)
        try:
            courier = courier or _Courier(uri)
            if courier.store_is_gone():
                return  # MLflow holds on to the removed file: the next courier makes a new one
            courier.round(found)
            failures = 0
            spools.set_trouble(spool, store, "")
        except Exception as error:  # whatever it is: the journals are kept and it is tried again
            failures += 1
            # A local store answers late under load; only a lasting fault is worth a warning.
            if failures >= (3 if database else 1):
                spools.set_trouble(spool, store, _one_line(error))
        if any(spools.is_live(path) for path, _ in found):
            busy = time.monotonic()
        time.sleep(min(5.0, 0.5 * 2**failures) if failures else POLL_S)


class _Courier:
    """A connection to one store, and what is known about it."""

    def __init__(self, uri: str):
        _quiet()
        prepare_store(uri)
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(uri)
        self.database = database_of(uri)
        self._file = _inode(self.database)
        self._experiments: dict[str, str] = {}
        self._flushed: dict[Path, float] = {}
        self._failures: Counter[Path] = Counter()

    def store_is_gone(self) -> bool:
        return _inode(self.database) != self._file

    def round(self, found: list[tuple[Path, dict[str, Any]]]) -> None:
        """Deliver journals as far as they are written; those of running sessions now and then.

        The first failure ends the round; what failed comes last in the next one, so that a
        journal the store chokes on does not hold up the others.
        """
        for path, start in sorted(found, key=lambda item: self._failures[item[0]]):
            now = time.monotonic()
            with contextlib.suppress(FileNotFoundError):  # someone cleared the spool
                live = spools.is_live(path)
                if live and now - self._flushed.get(path, -FLUSH_S) < FLUSH_S:
                    continue
                self._flushed[path] = now
                self._failures[path] += 1
                with _locked(self.database):
                    run = self._deliver(path)
                    if not live:
                        others = [
                            other for there, other in found if there != path and there.exists()
                        ]
                        self._settle(path, run, start, others)
                self._failures[path] = 0

    def _deliver(self, path: Path) -> str:
        """Send what is new in a journal; returns MLflow's id of the run."""
        from mlflow.exceptions import MlflowException

        note = spools.sent(path)
        run = note["run"]
        try:
            for events, position in _batches(spools.read(path, note["position"])):
                run = self._send_events(run, events)
                spools.note_sent(path, position, run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                # The run or its experiment was deleted: all of the journal makes it anew.
                self._experiments.clear()
                spools.note_sent(path, 0, None)
            raise
        return run

    def _send_events(self, run: str, events: list[dict[str, Any]]) -> str:
        """Send one batch of ``_batches``; returns MLflow's id of the run."""
        from mlflow.entities import Metric

        first = events[0]
        if first["event"] == "start":
            return self._start(first)
        if first["event"] == "metrics":
            rows = [
                Metric(_name(key), value, event["time"], event["step"])
                for event in events
                for key, value in event["values"].items()
            ]
            self._send(run, "metrics", rows)
        elif first["event"] == "tags":
            self._tags(run, first["tags"])
        elif first["event"] == "artifact":
            if os.path.exists(first["path"]):
                _unless_refused(
                    self.client.log_artifact, run, first["path"], first["folder"] or None
                )
            else:
                _say(f"artifact {first['path']} is gone")
        elif first["event"] == "dataset":
            _unless_refused(log_dataset, self.client, run, first)
        elif first["event"] == "model":
            if all(os.path.exists(path) for path in first["files"]):
                _unless_refused(register, self.client, run, first)
        elif first["event"] == "end":
            self.client.set_terminated(run, first["status"], first["time"])
            self._end_dag(run, first["status"], first["time"])
        return run

    def _send(self, run: str, kind: str, rows: list) -> None:
        """Send "metrics", "params" or "tags"; of a refused batch only the bad rows are left out."""
        size = BATCH if kind == "metrics" else BATCH // 10
        for i in range(0, len(rows), size):
            batch = rows[i : i + size]
            if not _unless_refused(self.client.log_batch, run, **{kind: batch}):
                for row in batch:
                    _unless_refused(self.client.log_batch, run, **{kind: [row]})

    def _params(self, run: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self._send(run, "params", [Param(_name(k), v[:6000]) for k, v in params.items()])

    def _tags(self, run: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._send(run, "tags", [RunTag(_name(k), v[:5000]) for k, v in tags.items()])

    def _settle(self, path: Path, run: str, start: dict, others: list[dict]) -> None:
        """Close a journal that is delivered and whose session is over.

        A run left running by a session that was killed is marked so, unless another session has
        continued it (is among the start events ``others``); likewise the DAG it was part of.
        """
        left = [run] if all(other["run"] != start["run"] for other in others) else []
        dag = start["tags"].get("ra.dag")
        if dag and all(other["tags"].get("ra.dag") != dag for other in others):
            left.append(self._find(self._experiment(start["experiment"]), dag))
        written = int(path.stat().st_mtime * 1000)
        for killed in filter(None, left):
            if self.client.get_run(killed).info.status == "RUNNING":
                self.client.set_terminated(killed, "KILLED", written)
        spools.remove(path)

    def _start(self, event: Mapping[str, Any]) -> str:
        """Create the run, or take up the one that is there; returns MLflow's id of it."""
        experiment = self._experiment(event["experiment"])
        tags = dict(event["tags"])
        parent = None
        if event["parent"]:
            tags["ra.parent"] = event["parent"]
            parent = self._find(experiment, event["parent"])
        if not parent and "ra.dag" in tags:
            parent = self._dag(experiment, event)
        if parent:
            tags["mlflow.parentRunId"] = parent
        run, known = self._find(experiment, event["run"]), {}
        if run:
            known = self.client.get_run(run).data.params
            self.client.update_run(run, status="RUNNING")
            self._tags(run, tags)
        else:
            created = self.client.create_run(experiment, event["time"], tags, event["name"])
            run = created.info.run_id
        self._params(run, {key: v for key, v in event["params"].items() if key not in known})
        return run

    def _dag(self, experiment: str, event: Mapping[str, Any]) -> str:
        """MLflow's id of the run that holds together all runs of one ``snakemake`` call."""
        dag = event["tags"]["ra.dag"]
        if run := self._find(experiment, dag):
            return run
        dataset = event["tags"].get("dataset", "")
        tags = {"ra.run": dag, "ra.dag": dag, "ra.kind": "dag", "dataset": dataset}
        tags["mlflow.user"] = event["tags"].get("mlflow.user", "")
        name = f"DAG {dataset} {dag}".replace("  ", " ")
        return self.client.create_run(experiment, event["time"], tags, name).info.run_id

    def _end_dag(self, run: str, status: str, time_ms: int) -> None:
        """The DAG's run ends with its latest member, and has failed if one of them has.

        No job knows which is the last, so each sets the end anew.
        """
        ended = self.client.get_run(run)
        dag = ended.data.tags.get("ra.dag")
        parent = dag and self._find(ended.info.experiment_id, dag)
        if parent and self.client.get_run(parent).info.status not in ("FAILED", "KILLED"):
            self.client.set_terminated(parent, status, time_ms)

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            place = _artifacts(self.database, name) if self.database else None
            self._experiments[name] = (
                found.experiment_id if found else self.client.create_experiment(name, place)
            )
        return self._experiments[name]

    def _find(self, experiment: str, run_id: str) -> str | None:
        """MLflow's id of the run with our id ``run_id``, which may be MLflow's own as well."""
        from mlflow.exceptions import MlflowException

        found = self.client.search_runs([experiment], f"tags.`ra.run` = '{run_id}'", max_results=1)
        if found:
            return found[0].info.run_id
        try:
            return self.client.get_run(run_id).info.run_id
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", *REFUSED):
                return None
            raise


def _batches(
    events: Iterator[tuple[dict[str, Any], int]],
) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Up to ``BATCH`` metrics events in a row together, any other event alone; with positions."""
    batch: list[dict[str, Any]] = []
    last = 0
    for event, position in events:
        if batch and (event["event"] != "metrics" or len(batch) == BATCH):
            yield batch, last
            batch = []
        if event["event"] == "metrics":
            batch.append(event)
        else:
            yield [event], position
        last = position
    if batch:
        yield batch, last


def _unless_refused(call: Callable[..., Any], *arguments, **rows) -> bool:
    """Make a call; False, with a line in the courier's log, if the store says it never takes it."""
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **rows)
    except MlflowException as error:
        if error.error_code not in REFUSED:
            raise
        _say(f"refused: {_one_line(error)}")
        return False
    return True


def _say(line: str) -> None:
    print(time.strftime("%F %T"), line, file=sys.stderr, flush=True)


def _name(key: str) -> str:
    """``key`` with the characters MLflow takes in names."""
    return re.sub(r"[^\w./ -]", "_", key)[:250]


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return strip_credentials(lines[0])[:300]


def _inode(path: Path | None) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_ino if path else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ[spools.URI_VARIABLE])
