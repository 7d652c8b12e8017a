"""Tracking against real stores: SQLite from nothing, a real ``mlflow server``, one that is not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import free_port
from filelock import Timeout
from mlflow_server import mlflow_server

from ra.tracking import deliver as delivery
from ra.tracking import journal as journals
from ra.tracking import run as tracking
from ra.tracking.journal import Journal

JOB = """
import os, sys
from ra.tracking import run as tracking
name, uri, count = sys.argv[1:]
with tracking.start_run(name, "train", {"n": count}, uri=uri) as run:
    for i in range(int(count)):
        run.log_metrics({"loss": i / 7}, step=i)
    if name == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch, tmp_path):
    monkeypatch.delenv("RA_DAG_ID", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_deliverer(monkeypatch):
    """Journals are delivered in this process, where MLflow is imported already."""
    monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)


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


def start_job(name: str, uri: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", JOB, name, uri, str(count)]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE)


def client_of(uri: str):
    delivery.store_module()
    from mlflow import MlflowClient

    return MlflowClient(uri)


def runs_of(uri: str) -> dict:
    """The runs of the experiment ``ra`` by name."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name("ra")
    return {
        run.info.run_name: run
        for run in client.search_runs([experiment.experiment_id] if experiment else [])
    }


def steps_of(uri: str, run, key: str) -> list[tuple[int, float]]:
    history = client_of(uri).get_metric_history(run.info.run_id, key)
    return sorted((metric.step, metric.value) for metric in history)


def journal_of(uri: str, name: str) -> Journal:
    start = {"experiment": "ra", "run": name, "name": name, "parent": None}
    start |= {"params": {"a": "1"}, "tags": {"ra.run": name}}
    return Journal(journals.spool_of(uri), name, start)


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_off_costs_nothing(tmp_path):
    with tracking.start_run("x", "train", {}) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        run.log_artifact("nothing")
        run.set_tags({"a": 1})
    assert run.run_id is None and list(tmp_path.iterdir()) == []


def test_a_job_does_not_import_mlflow(uri):
    code = (
        "import sys; from ra.tracking import run; run.start_run('x', 'train', {}, uri=sys.argv[1])"
    )
    code += "; assert 'mlflow' not in sys.modules and 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, uri], check=True)


def test_a_run_is_recorded_whole(uri, tmp_path, monkeypatch, no_deliverer):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("RA_DAG_ID", "dag7")
    picture = tmp_path / "strip.png"
    picture.write_bytes(b"png")
    params = {"lr": 0.1, "data": "http://me:secret@host/x", "none": None, "long": "x" * 9000}
    with tracking.start_run("sr ra l=0.001", "train", params, {"task": "sr"}) as parent:
        parent.log_metrics({"loss": 2.0, "top-1 (%)": 50, "../bad": 1}, step=1)
        parent.log_metrics({"loss": math.nan}, step=2)
        parent.log_metrics({"loss": "no number"}, step=3)
        parent.log_artifact(picture, "pictures")
        parent.log_artifact(tmp_path / "missing.csv")
    with tracking.start_run("child", "evaluate", {}, parent_run_id=parent.run_id) as child:
        child.set_tags({"n": 3})
    assert tracking.deliver() == 0
    runs = runs_of(uri)
    one, two = runs["sr ra l=0.001"], runs["child"]
    assert one.info.status == two.info.status == "FINISHED"
    known = {"lr": "0.1", "data": "http://host/x", "none": "None", "long": "x" * 6000}
    assert one.data.params == known
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
    assert [path.name for path in journals.spool_of(uri).iterdir()] == ["lock"]


def test_the_end_is_told(ready, no_deliverer):
    errors = ValueError("first\nsecond"), KeyboardInterrupt(), SystemExit(143), SystemExit(0)
    for error in errors:
        with (
            contextlib.suppress(type(error)),
            tracking.start_run(repr(error), "train", {}, uri=ready),
        ):
            raise error
    assert tracking.deliver(ready) == 0
    runs = runs_of(ready)
    assert {name: run.info.status for name, run in runs.items()} == {
        "ValueError('first\\nsecond')": "FAILED",
        "KeyboardInterrupt()": "KILLED",
        "SystemExit(143)": "KILLED",
        "SystemExit(0)": "FINISHED",
    }
    assert runs["ValueError('first\\nsecond')"].data.tags["error"] == "ValueError: first"


def test_eight_processes_from_nothing(uri):
    jobs = [start_job(f"job{i}", uri, 1000) for i in range(8)]
    for job in jobs:
        assert job.communicate()[1] == "" and job.returncode == 0
    spool = journals.spool_of(uri)
    wait_until(lambda: not list(spool.glob("*.jsonl")))
    with pytest.raises(Timeout):  # a single process holds the store, ready for the next job
        journals.hold(spool / "lock")
    runs = runs_of(uri)
    assert sorted(runs) == [f"job{i}" for i in range(8)]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert steps_of(uri, run, "loss") == [(i, i / 7) for i in range(1000)]
    assert (spool / "log").read_text() == ""


def test_curves_are_live_and_a_killed_deliverer_is_replaced(ready, monkeypatch):
    monkeypatch.setattr(tracking, "CHECK_S", 0)
    with tracking.start_run("long", "train", {}, uri=ready) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        wait_until(lambda: "long" in runs_of(ready))
        wait_until(lambda: steps_of(ready, runs_of(ready)["long"], "loss") == [(1, 1.0)])
        assert runs_of(ready)["long"].info.status == "RUNNING"
        first = run._deliverer
        first.kill()
        first.wait()
        run.log_metrics({"loss": 2.0}, step=2)
        assert run._deliverer.pid != first.pid
    wait_until(lambda: not list(journals.spool_of(ready).glob("*.jsonl")))
    assert steps_of(ready, runs_of(ready)["long"], "loss") == [(1, 1.0), (2, 2.0)]


def test_a_deliverer_waits_to_take_over_until_its_run_has_ended(ready, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_S", 0.01)
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    journal = journal_of(ready, "mine")
    with journals.hold(journal.path.with_name("lock")):
        monkeypatch.setattr(time, "sleep", lambda _: journal.close())
        delivery.main(journal.path, ready)  # the holder delivers it
    assert journal.path.exists()
    delivery.main(journal.path, ready)
    assert not journal.path.exists()


def test_kill_9_and_resume(ready, monkeypatch, no_deliverer):
    monkeypatch.setenv("RA_DAG_ID", "dag-1")
    job = start_job("killed", ready, 100)
    job.communicate()
    assert job.returncode == -9
    assert tracking.deliver(ready) == 0
    runs = runs_of(ready)
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert len(runs) == 2  # the run, and the DAG that it was part of
    monkeypatch.delenv("RA_DAG_ID")
    run_id, params = runs["killed"].data.tags["ra.run"], {"n": 2, "new": 3}
    with tracking.start_run("killed", "train", params, uri=ready, run_id=run_id) as run:
        assert run.run_id == run_id
        for i in range(90, 200):  # from the last checkpoint on
            run.log_metrics({"loss": i / 7}, step=i)
    with tracking.start_run("unknown", "train", {}, uri=ready, run_id="gone") as run:
        assert run.run_id == "gone"
    assert tracking.deliver(ready) == 0
    runs = runs_of(ready)
    assert len(runs) == 3 and runs["killed"].info.status == "FINISHED"
    assert runs["killed"].data.params == {"n": "100", "new": "3"}
    assert set(steps_of(ready, runs["killed"], "loss")) == {(i, i / 7) for i in range(200)}
    assert runs["unknown"].info.status == "FINISHED"


def test_delivery_twice_is_delivery_once(ready):
    """A deliverer that is killed remembers nothing: all of the journal is sent again."""
    journal = journal_of(ready, "twice")
    for i in range(50):
        journal.write("metrics", step=i, values={"loss": float(i)})
    os.write(journal._handle, b'{"event": "metr')  # torn by a kill
    for _ in range(2):
        delivery.store_module().Store(ready, journal.path.parent).round()
    assert journal.path.exists()
    journal.close()
    assert tracking.deliver(ready) == 0
    (run,) = runs_of(ready).values()
    assert run.info.status == "KILLED"
    assert steps_of(ready, run, "loss") == [(i, float(i)) for i in range(50)]


def test_a_deliverer_leaves_a_store_that_was_removed(ready, monkeypatch):
    """MLflow holds on to the removed file, so the next deliverer sends all to the new one."""
    database, journal = journals.database_of(ready), journal_of(ready, "survivor")
    journal.write("metrics", step=1, values={"loss": 1.0})
    monkeypatch.setattr(time, "sleep", lambda _: database.unlink())
    delivery.main(journal.path, ready)
    assert not database.exists()
    journal.write("end", status="FINISHED")
    journal.close()
    by_hand = [sys.executable, "-m", "ra.tracking.deliver"]
    subprocess.run(by_hand, env={**os.environ, "MLFLOW_TRACKING_URI": ready}, check=True)
    with contextlib.closing(sqlite3.connect(database)) as store:
        assert store.execute("SELECT step FROM metrics").fetchall() == [(1,)]


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
    assert client_of(uri).get_experiment_by_name("mine")


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
                delivery.main(run._journal.path, ready)
    assert [record.message.split(" takes")[1] for record in caplog.records] == [
        " no records now (a newer MLflow made mlflow.db; install that version, or move the file "
        f"away); they are kept in {journals.spool_of(ready)} and delivered with the next run"
    ]
    assert tracking.deliver(ready) == 2


def test_server_down_then_up_and_no_secret_is_written(tmp_path, caplog, monkeypatch):
    port = free_port()
    plain = f"http://127.0.0.1:{port}"
    uri = plain.replace("//", "//user:w0rd-of-mine@")
    monkeypatch.setattr(delivery, "LINGER_S", 0)
    artifact = tmp_path / "a.txt"
    artifact.write_text("kept")
    monkeypatch.setattr(tracking, "CHECK_S", 0)
    with tracking.start_run("early", "train", {"a": 1}, uri=uri) as run:
        run.log_metrics({"loss": 0.5}, step=3)
        run.log_artifact(artifact)
        logged = time.time()
        spool = run._journal.path.parent
        wait_until((spool / "trouble").exists)
        run._deliverer.kill()  # it would try again after a while
        run._deliverer.wait()
        monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)
    assert caplog.text.count("tracking:") == 1 and "delivered with the next run" in caplog.text
    assert tracking.deliver(uri, timeout_s=0) == 1
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/server.db", port):
        assert tracking.deliver(uri) == 0
        early = runs_of(plain)["early"]
        assert early.info.status == "FINISHED" and early.data.params == {"a": "1"}
        (metric,) = client_of(plain).get_metric_history(early.info.run_id, "loss")
        assert (metric.step, metric.value) == (3, 0.5)
        assert abs(metric.timestamp / 1000 - logged) < 2  # the time it was logged, not delivered
        assert [f.path for f in client_of(plain).list_artifacts(early.info.run_id)] == ["a.txt"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert spool / "log" in written and (spool / "log").stat().st_mode & 0o777 == 0o600
    texts = [path.read_bytes() for path in written] + [caplog.text.encode()]
    assert not [text for text in texts if b"w0rd-of-mine" in text]


def test_no_job_waits_for_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with tracking.start_run("stalled", "train", {}, uri=uri) as run:
            for i in range(2000):
                run.log_metrics({"loss": i}, step=i)
        assert time.monotonic() - begin < 2
        (journal,) = journals.spool_of(uri).glob("*.jsonl")
        run_process = tracking._deliverers[-1]
        run_process.kill()
        run_process.wait()
    events = [event for event, _ in journals.read(journal)]
    assert sum("loss" in event.get("values", {}) for event in events) == 2000
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")


def test_a_clock_that_is_set_back_prolongs_no_wait(ready, monkeypatch):
    journal_of(ready, "x").close()
    monkeypatch.setattr(time, "time", iter(range(10**9, 0, -3600)).__next__)
    begin = time.monotonic()
    with journals.hold(journals.spool_of(ready) / "lock"):
        assert tracking.deliver(ready, timeout_s=0.3) == 1
    assert time.monotonic() - begin < 5


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
