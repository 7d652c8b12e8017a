"""Tracking against real stores: SQLite from nothing, a real ``mlflow server``, one that is not."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from browser import free_port
from filelock import Timeout
from mlflow_server import mlflow_server
from PIL import Image

from ra.files import locked
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
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return {run.info.run_name: run for run in found}


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
    file, damaged = tmp_path / "a.txt", tmp_path / "damaged.png"
    file.write_bytes(b"text")
    damaged.write_bytes(b"png")
    params = {"lr": 0.1, "data": "http://me:secret@host/x", "none": None, "long": "x" * 9000}
    with tracking.start_run("sr ra l=0.001", "train", params, {"task": "sr"}) as parent:
        parent.log_metrics({"loss": 2.0, "top-1 (%)": 50, "../bad": 1}, step=1)
        parent.log_metrics({"loss": math.nan}, step=2)
        parent.log_metrics({"loss": "no number"}, step=3)
        parent.log_artifact(damaged)
        parent.log_artifact(file, "texts")
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
    assert [path.read_bytes() for path in stored] == [b"text"]
    assert stored[0].parent.name == "texts"
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
    # A single process holds the store, ready for the next job.
    with pytest.raises(Timeout), locked(spool / "lock"):
        pass
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


def test_a_deliverer_leaves_the_store_to_another(ready):
    journal = journal_of(ready, "mine")
    journal.close()
    with locked(journal.path.with_name("lock")):
        delivery.follow(ready)
    assert journal.path.exists()


def test_kill_9_and_resume(ready, no_deliverer):
    job = start_job("killed", ready, 100)
    job.communicate()
    assert job.returncode == -9
    assert tracking.deliver(ready) == 0
    runs = runs_of(ready)
    assert [run.info.status for run in runs.values()] == ["KILLED"]
    run_id, params = runs["killed"].data.tags["ra.run"], {"n": 2, "new": 3}
    with tracking.start_run("killed", "train", params, uri=ready, run_id=run_id) as run:
        assert run.run_id == run_id
        for i in range(90, 200):  # from the last checkpoint on
            run.log_metrics({"loss": i / 7}, step=i)
    with tracking.start_run("unknown", "train", {}, uri=ready, run_id="gone") as run:
        assert run.run_id == "gone"
    assert tracking.deliver(ready) == 0
    runs = runs_of(ready)
    assert len(runs) == 2 and runs["killed"].info.status == "FINISHED"
    assert runs["killed"].data.params == {"n": "100", "new": "3"}
    assert set(steps_of(ready, runs["killed"], "loss")) == {(i, i / 7) for i in range(200)}
    assert runs["unknown"].info.status == "FINISHED"


def test_delivery_twice_is_delivery_once(ready, tmp_path):
    """A deliverer that is killed remembers nothing: all of the journal is sent again."""
    journal = journal_of(ready, "twice")
    for i in range(50):
        journal.write("metrics", step=i, values={"loss": float(i)})
    files = {"artifact": tmp_path / "strip.png", "table": tmp_path / "answers.csv"}
    Image.new("RGB", (4, 4)).save(files["artifact"])
    files["table"].write_text("path,top1\na.png,1\n")
    for event, path in files.items():
        journal.write(event, path=str(path), folder="")
    os.write(journal._handle, b'{"event": "metr')  # torn by a kill
    for _ in range(2):
        delivery.store_module().Store(ready, journal.path.parent).round()
    assert journal.path.exists()
    journal.close()
    assert tracking.deliver(ready) == 0
    (run,) = runs_of(ready).values()
    assert run.info.status == "KILLED"
    assert steps_of(ready, run, "loss") == [(i, float(i)) for i in range(50)]
    stored = [path for path in (tmp_path / "results/mlartifacts").rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in stored) == [".json", ".png", ".webp"]
    (table,) = [json.loads(path.read_text()) for path in stored if path.suffix == ".json"]
    assert table["data"] == [["a.png", 1]]


def test_a_store_that_was_removed_is_made_anew(ready, monkeypatch):
    """MLflow holds on to the removed file."""
    database, journal = journals.database_of(ready), journal_of(ready, "survivor")
    journal.write("metrics", step=1, values={"loss": 1.0})
    monkeypatch.setattr(delivery, "LINGER_S", 0.1)

    def in_the_meantime(_):
        if journals.is_live(journal.path):
            database.unlink()
            journal.write("end", status="FINISHED")
            journal.close()

    monkeypatch.setattr(time, "sleep", in_the_meantime)
    delivery.follow(ready)
    with contextlib.closing(sqlite3.connect(database)) as store:
        assert store.execute("SELECT step FROM metrics").fetchall() == [(1,)]


def test_by_hand_what_is_left_is_delivered(ready):
    journal_of(ready, "left").close()
    by_hand = [sys.executable, "-m", "ra.tracking.deliver"]
    subprocess.run(by_hand, env={**os.environ, "MLFLOW_TRACKING_URI": ready}, check=True)
    assert list(runs_of(ready)) == ["left"]


def test_server_down_then_up_and_no_secret_is_written(tmp_path, caplog, capfd, monkeypatch):
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
        wait_until(lambda: (spool / "log").stat().st_size)  # it failed once
        run._deliverer.kill()  # it would try again after a while
        run._deliverer.wait()
        monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)
    assert tracking.deliver(uri) == 1
    assert caplog.text.count("tracking:") == 1 and "delivered with the next run" in caplog.text
    with mlflow_server(tmp_path, f"sqlite:///{tmp_path}/server.db", port):
        wait_until(lambda: tracking.deliver(uri) == 0)  # a busy server may answer too late
        early = runs_of(plain)["early"]
        assert early.info.status == "FINISHED" and early.data.params == {"a": "1"}
        (metric,) = client_of(plain).get_metric_history(early.info.run_id, "loss")
        assert (metric.step, metric.value) == (3, 0.5)
        assert abs(metric.timestamp / 1000 - logged) < 2  # the time it was logged, not delivered
        assert [f.path for f in client_of(plain).list_artifacts(early.info.run_id)] == ["a.txt"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert spool / "log" in written and (spool / "log").stat().st_mode & 0o777 == 0o600
    said = "".join(capfd.readouterr()) + caplog.text
    texts = [path.read_bytes() for path in written] + [said.encode()]
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
        run._deliverer.kill()
    events = [event for event, _ in journals.read(journal)]
    assert sum("loss" in event.get("values", {}) for event in events) == 2000
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")


def test_a_clock_that_is_set_back_prolongs_no_wait(ready, monkeypatch):
    journal_of(ready, "x").close()
    monkeypatch.setattr(time, "time", iter(range(10**9, 0, -3600)).__next__)
    begin = time.monotonic()
    with locked(journals.spool_of(ready) / "lock"):
        assert tracking.deliver(ready, timeout_s=0.3) == 1
    assert time.monotonic() - begin < 5
