"""Tracking against real stores: SQLite from nothing, a real ``mlflow server``, one that is not."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ra.tracking import deliver as tracking_store
from ra.tracking import journal as spools
from ra.tracking import run as tracking

ROOT = Path(__file__).parents[2]
LOGGER = """
import sys
from ra.tracking import run as tracking
name, uri, spool, count = sys.argv[1:]
with tracking.start_run(name, "train", {"n": count}, uri=uri, spool=spool) as run:
    for i in range(int(count)):
        run.log_metrics({"loss": i / 7}, step=i)
"""


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RA_DAG_ID", raising=False)


@pytest.fixture
def uri(tmp_path):
    """A store that is not there yet."""
    return tracking.default_uri(tmp_path / "results")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tracking.prepare_store(tracking.default_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def ready(uri, tmp_path, empty_store):
    """A store that is there, for what is not about making it (saves a second each)."""
    (tmp_path / "results").mkdir()
    shutil.copyfile(empty_store, tmp_path / "results/mlflow.db")
    return uri


def start_python(code: str, *arguments) -> subprocess.Popen:
    """A process that can import ra, with its stderr to be read."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def client_of(uri: str):
    tracking_store._quiet()
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def runs_of(uri: str) -> dict:
    """The runs of the experiment ``ra`` by name."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name("ra").experiment_id
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def steps_of(uri: str, run, key: str) -> list[tuple[int, float]]:
    history = client_of(uri).get_metric_history(run.info.run_id, key)
    return sorted((metric.step, metric.value) for metric in history)


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int):
    """A real server; yields when it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        wait_until(answers, 60)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def test_off_costs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = """
import sys
from ra.tracking import run as tracking
with tracking.start_run("x", "train", {}) as run:
    run.log_metrics({"loss": 1.0}, step=1)
    run.log_artifact("nothing")
    run.set_tags({"a": 1})
assert run.run_id is None and "mlflow" not in sys.modules
"""
    process = start_python(code)
    assert process.communicate()[1] == "" and process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_recorded_whole(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("RA_DAG_ID", "dag7")
    picture = tmp_path / "strip.png"
    picture.write_bytes(b"png")
    params = {"lr": 0.1, "data": "http://me:secret@host/x", "none": None, "long": "x" * 9000}
    with tracking.start_run("sr ra l=0.001", "train", params, {"task": "sr"}) as parent:
        parent.log_metrics({"loss": 2.0, "top-1 (%)": 50}, step=1)
        parent.log_metrics({"loss": math.nan}, step=2)
        parent.log_metrics({"loss": "no number"}, step=3)
        parent.log_artifact(picture, "pictures")
        parent.log_artifact(tmp_path / "missing.csv")
    with tracking.start_run("judged", "evaluate", {}, parent_run_id=parent.run_id) as child:
        child.set_tags({"n": 3})
    runs = runs_of(uri)
    one, two = runs["sr ra l=0.001"], runs["judged"]
    assert one.info.status == two.info.status == "FINISHED"
    assert one.data.params == {
        "lr": "0.1",
        "data": "http://host/x",
        "none": "None",
        "long": "x" * 6000,
    }
    tags = one.data.tags
    assert (tags["task"], tags["ra.kind"], tags["ra.dag"]) == ("sr", "train", "dag7")
    assert tags["ra.run"] == parent.run_id and tags["ra.host"] == socket.gethostname()
    assert two.data.tags["mlflow.parentRunId"] == one.info.run_id
    assert two.data.tags["n"] == "3"
    loss = steps_of(uri, one, "loss")
    assert loss[0] == (1, 2.0) and loss[1][0] == 2 and math.isnan(loss[1][1]) and len(loss) == 2
    assert one.data.metrics["top-1 ___"] == 50 and one.data.metrics["wall_s"] > 0
    stored = [path for path in (tmp_path / "results/mlartifacts").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in stored] == [b"png"]
    assert stored[0].parent.name == "pictures"
    assert not list((tmp_path / "results/.spool").glob("*.jsonl"))


def test_the_end_is_told(ready):
    errors = ValueError("first\nsecond"), KeyboardInterrupt(), SystemExit(143), SystemExit(0)
    for error in errors:
        run = tracking.start_run(repr(error), "train", {}, uri=ready)
        with contextlib.suppress(type(error)), run:
            raise error
    spool = Path(tracking_store.database_of(ready)).parent / ".spool"
    assert tracking.deliver(spool) == 0  # a killed run does not wait for its delivery
    runs = {name: run.info.status for name, run in runs_of(ready).items()}
    assert runs == {
        "ValueError('first\\nsecond')": "FAILED",
        "KeyboardInterrupt()": "KILLED",
        "SystemExit(143)": "KILLED",
        "SystemExit(0)": "FINISHED",
    }
    failed = runs_of(ready)["ValueError('first\\nsecond')"]
    assert failed.data.tags["error"] == "ValueError: first"


@pytest.mark.parametrize("spools_count", [1, 8], ids=["one-courier", "eight-couriers"])
def test_eight_processes_from_nothing(uri, tmp_path, spools_count):
    begin = time.monotonic()
    jobs = [
        start_python(LOGGER, f"job{i}", uri, tmp_path / f"spool{i % spools_count}", 1000)
        for i in range(8)
    ]
    for job in jobs:
        assert job.communicate()[1] == "" and job.returncode == 0
    print(f"{spools_count} couriers: {time.monotonic() - begin:.1f} s")
    runs = runs_of(uri)
    assert sorted(runs) == [f"job{i}" for i in range(8)]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert steps_of(uri, run, "loss") == [(i, i / 7) for i in range(1000)]
    for spool in tmp_path.glob("spool*"):
        assert not list(spool.glob("*.jsonl")) and (spool / "courier.log").read_text() == ""


def test_kill_9_and_resume(ready, tmp_path, monkeypatch):
    code = """
import os, sys, time
from ra.tracking import run as tracking
with tracking.start_run("killed", "train", {"lr": 1}, uri=sys.argv[1]) as run:
    print(run.run_id, flush=True)
    for i in range(100):
        run.log_metrics({"loss": i}, step=i)
    os.kill(os.getpid(), 9)
"""
    monkeypatch.setenv("RA_DAG_ID", "dag-1")
    job = start_python(code, ready)
    run_id = job.communicate()[0].strip()
    assert job.returncode == -9
    spool = tmp_path / "results/.spool"
    assert tracking.deliver(spool) == 0
    assert {run.info.status for run in runs_of(ready).values()} == {"KILLED"}
    assert len(runs_of(ready)) == 2  # the run, and the DAG that it was part of
    monkeypatch.delenv("RA_DAG_ID")
    params = {"lr": 2, "new": 3}
    with tracking.start_run("killed", "train", params, uri=ready, run_id=run_id) as run:
        assert run.run_id == run_id
        for i in range(90, 200):  # from the last checkpoint on
            run.log_metrics({"loss": i}, step=i)
    killed = runs_of(ready)["killed"]
    assert len(runs_of(ready)) == 2 and killed.info.status == "FINISHED"
    assert killed.data.params == {"lr": "1", "new": "3"}
    assert {step for step, _ in steps_of(ready, killed, "loss")} == set(range(200))
    with tracking.start_run("unknown", "train", {}, uri=ready, run_id="gone") as run:
        assert run.run_id == "gone"
    assert runs_of(ready)["unknown"].info.status == "FINISHED"


def journal_of(uri: str, spool: Path, name: str) -> spools.Journal:
    return spools.Journal(
        spool,
        name,
        {
            "store": uri,
            "experiment": "ra",
            "run": name,
            "name": name,
            "parent": None,
            "params": {"a": "1"},
            "tags": {"ra.run": name},
        },
    )


def test_delivery_twice_is_delivery_once(ready, tmp_path):
    """A courier killed before it notes what it sent: all of the journal is sent again."""
    journal = journal_of(ready, tmp_path, "twice")
    for i in range(50):
        journal.write("metrics", step=i, values={"loss": float(i)})
    os.write(journal._handle, b'{"event": "metr')  # torn by a kill
    courier = tracking_store._Courier(ready)
    for _ in range(2):
        courier._deliver(journal.path)
        spools.note_sent(journal.path, 0, None)
    journal.close()
    courier.round(spools.journals(tmp_path))
    (run,) = runs_of(ready).values()
    assert run.info.status == "KILLED"
    assert steps_of(ready, run, "loss") == [(i, float(i)) for i in range(50)]
    assert not journal.path.exists()


def test_a_deleted_store_is_made_again_with_all_of_a_run(ready, tmp_path, empty_store):
    database = tmp_path / "results/mlflow.db"
    journal = journal_of(ready, tmp_path, "survivor")
    journal.write("metrics", step=1, values={"loss": 1.0})
    courier = tracking_store._Courier(ready)
    courier.round(spools.journals(tmp_path))
    assert spools.sent(journal.path)["position"] > 0
    database.rename(tmp_path / "kept.db")
    assert courier.store_is_gone()  # its process ends here; the next one finds a new file
    shutil.copyfile(empty_store, database)
    journal.write("metrics", step=2, values={"loss": 2.0})
    journal.write("end", status="FINISHED")
    journal.close()
    assert tracking.deliver(tmp_path) == 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT step FROM metrics WHERE key = 'loss'").fetchall()
    assert sorted(rows) == [(1,), (2,)]


def test_half_made_database_is_never_in_place(uri, tmp_path):
    database = tmp_path / "results/mlflow.db"
    database.parent.mkdir()
    maker = start_python(
        "import sys; from ra.tracking import run as tracking; tracking.prepare_store(sys.argv[1])",
        uri,
    )
    wait_until(lambda: (database.parent / ".mlflow.db.new").exists())
    maker.kill()
    maker.wait()
    assert not database.exists()
    begin = time.monotonic()
    tracking.prepare_store(uri)
    created = time.monotonic() - begin
    begin = time.monotonic()
    tracking.prepare_store(uri)
    print(f"create {created:.1f} s, again {time.monotonic() - begin:.2f} s")
    assert time.monotonic() - begin < 1
    client_of(uri).search_experiments()


def test_an_older_database_is_migrated_with_what_is_in_it(uri, tmp_path):
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from mlflow.store.tracking.dbmodels.initial_models import Base

    database = tmp_path / "results/mlflow.db"
    database.parent.mkdir()
    engine = utils.create_sqlalchemy_engine(uri)
    Base.metadata.create_all(engine)
    config = utils._get_alembic_config(uri)
    head = ScriptDirectory.from_config(config).get_revision("head")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, head.down_revision)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (name, lifecycle_stage) VALUES ('mine', 'active')"
        )
    assert tracking_store._revision(database) == head.down_revision
    tracking.prepare_store(uri)
    assert tracking_store._revision(database) == head.revision
    assert client_of(uri).get_experiment_by_name("mine")


def test_server_down_then_up(tmp_path, caplog):
    port = free_port()
    uri = f"http://user:secret@127.0.0.1:{port}"
    artifact = tmp_path / "a.txt"
    artifact.write_text("kept")
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, "ra"):
        with tracking.start_run("early", "train", {"a": 1}, uri=uri, spool=tmp_path / "s") as run:
            run.log_metrics({"loss": 0.5}, step=3)
            run.log_artifact(artifact)
            logged = time.time()
            began = time.monotonic()
        assert time.monotonic() - began < 11
    assert "delivered later" in caplog.text and caplog.text.count("tracking:") == 1
    (journal,) = (tmp_path / "s").glob("*.jsonl")
    for kept in (tmp_path / "s").iterdir():
        assert "secret" not in kept.read_text()
    assert "secret" not in caplog.text
    with mlflow_server(tmp_path, port):
        assert tracking.deliver(tmp_path / "s", uri) == 0
        plain = uri.replace("user:secret@", "")
        early = runs_of(plain)["early"]
        assert early.info.status == "FINISHED" and early.data.params == {"a": "1"}
        (metric,) = client_of(plain).get_metric_history(early.info.run_id, "loss")
        assert (metric.step, metric.value) == (3, 0.5)
        assert abs(metric.timestamp / 1000 - logged) < 2  # the time it was logged, not delivered
        assert [f.path for f in client_of(plain).list_artifacts(early.info.run_id)] == ["a.txt"]
        with tracking.start_run("late", "train", {}, uri=plain, spool=tmp_path / "s") as run:
            run.log_metrics({"loss": 1}, step=1)
        assert runs_of(plain)["late"].info.status == "FINISHED"
    assert not list((tmp_path / "s").glob("*.jsonl")) and time.monotonic() - begin < 80


def test_server_that_never_answers(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(tracking.WAIT_S, "remote", 4.0)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with tracking.start_run("stalled", "train", {}, uri=uri, spool=tmp_path) as run:
            for i in range(2000):
                run.log_metrics({"loss": i}, step=i)
            assert time.monotonic() - begin < 2
        assert time.monotonic() - begin < 8
    assert "no answer in 4 s" in caplog.text
    (journal,) = tmp_path.glob("*.jsonl")
    events = [event for event, _ in spools.read(journal, 0)]
    assert sum("loss" in event.get("values", {}) for event in events) == 2000
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")


def test_no_place_for_the_spool(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    spool = tmp_path / "file/spool"
    with tracking.start_run("x", "train", {}, uri="http://127.0.0.1:9", spool=spool) as run:
        run.log_metrics({"loss": 1}, step=1)
    assert run.run_id is None and "tracking is off" in caplog.text


def test_full_disk_costs_records_not_the_training(tmp_path, caplog, monkeypatch):
    journal = spools.Journal(tmp_path, "r", {"store": "x"})
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
        journal.write("tags", tags={"a": 1})
        journal.write("tags", tags={"b": 1})
    journal.write("tags", tags={"c": 1})
    assert [event.get("tags") for event, _ in spools.read(journal.path, 0)] == [None, {"c": 1}]
    assert caplog.text.count("disk full") == 1
    journal.close()


def test_journal_lines_are_plain_json(tmp_path):
    journal = spools.Journal(tmp_path, "r", {"store": "x", "odd": Path("a\r\nb\u2028")})
    journal.write("metrics", step=1, values={"inf": math.inf})
    lines = journal.path.read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "metrics"]
    assert spools.is_live(journal.path)
    os.dup(journal._handle)  # as a forked loader worker has it
    journal.close()
    assert not spools.is_live(journal.path)
