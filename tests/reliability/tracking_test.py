"""Jobs log to real MLflow servers, on SQLite and on PostgreSQL, that are up, slow, down and back.

    python tests/reliability/tracking_test.py                # or with --stores postgresql

Eight processes log 1,000 metrics each: to a SQLite file, to a server on SQLite and to one on
PostgreSQL, each started from nothing; then to a server that answers after a second, and to one
that is stopped in the middle and started again. Every metric must arrive once, and no job may wait
for the server. Prints the figures as JSON. PostgreSQL is Debian's package (installed with apt-get
where root may); without it that part is skipped and says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from browser import free_port  # noqa: E402
from mlflow_server import mlflow_server  # noqa: E402

from ra.tracking import deliver as delivery  # noqa: E402
from ra.tracking.journal import default_uri, spool_of  # noqa: E402

JOBS, METRICS = 8, 1000
JOB = """
import sys, time
from ra.tracking import run as tracking
uri, number, count, pause = sys.argv[1:]
slowest = 0
with tracking.start_run(f"job{number}", "train", {"n": count}, uri=uri) as run:
    for i in range(int(count)):
        begin = time.perf_counter()
        run.log_metrics({"loss": i / 7}, step=i)
        slowest = max(slowest, time.perf_counter() - begin)
        time.sleep(float(pause))
    begin = time.perf_counter()
print(max(slowest, time.perf_counter() - begin))
"""


@contextlib.contextmanager
def slow(port: int, delay_s: float) -> Iterator[str]:
    """A proxy that hands every answer on after ``delay_s`` seconds; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def pump(source: socket.socket, target: socket.socket, wait: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(wait)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server, 0), (server, client, delay_s)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own below ``folder``; yields its URI. RuntimeError says why not."""
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        raise RuntimeError("no driver; pip install psycopg2-binary") from None
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs and os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "-qq", "install", "-y", "postgresql"], check=False)
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise RuntimeError("Debian's package postgresql is not installed and cannot be")
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    data, port = folder / "pg", free_port()
    data.mkdir()
    if user:
        account = pwd.getpwnam("postgres")
        os.chown(data, account.pw_uid, account.pw_gid)
        for above in (folder, *folder.parents):
            if above.stat().st_uid == os.getuid() and above != Path("/tmp") and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
    quiet = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/"}
    subprocess.run(
        [*user, programs[-1] / "initdb", "-D", data, "-A", "trust", "-U", "mlflow", "-N"], **quiet
    )
    control = [*user, programs[-1] / "pg_ctl", "-D", data, "-w"]
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
    subprocess.run([*control, "-l", data / "log", "-o", options, "start"], **quiet)
    try:
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def start_jobs(uri: str, pause: float = 0) -> list[subprocess.Popen]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RA_DAG_ID", None)
    return [
        subprocess.Popen(
            [sys.executable, "-c", JOB, uri, str(n), str(METRICS), str(pause)],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for n in range(JOBS)
    ]  # fmt: skip


def finish(jobs: list[subprocess.Popen]) -> tuple[float, int]:
    """(the slowest call, that at the end included, in ms; jobs that warned)."""
    slowest, warned = 0.0, 0
    for job in jobs:
        said, errors = job.communicate()
        assert job.returncode == 0, errors
        assert all("delivered with the next run" in line for line in errors.splitlines()), errors
        warned += bool(errors)
        slowest = max(slowest, float(said))
    return round(slowest * 1000, 1), warned


def arrived(uri: str) -> int:
    """Metrics in the store: each (job, step) with its value once, or AssertionError."""
    end = time.monotonic() + 600
    while delivery.deliver(uri, timeout_s=300):  # a busy server may answer too late
        assert time.monotonic() < end, list(spool_of(uri).iterdir())
    client = delivery.store_module().mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("ra").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(r.info.run_name for r in runs) == [f"job{n}" for n in range(JOBS)]
    count = 0
    for run in runs:
        assert run.info.status == "FINISHED", run.info
        history = client.get_metric_history(run.info.run_id, "loss")
        assert sorted((m.step, m.value) for m in history) == [(i, i / 7) for i in range(METRICS)]
        count += len(history)
    return count


def logged(uri: str) -> dict[str, object]:
    """What eight jobs log at once, and how it arrives."""
    begin = time.monotonic()
    slowest, warned = finish(start_jobs(uri))
    jobs_s = round(time.monotonic() - begin, 1)
    figures = {"metrics": arrived(uri), "slowest_call_ms": slowest, "jobs_that_warned": warned}
    return figures | {"jobs_s": jobs_s, "arrived_s": round(time.monotonic() - begin, 1)}


def interrupted(folder: Path, store: str) -> dict[str, object]:
    """The server is killed while the jobs log, and comes back when they have ended."""
    port = free_port()
    with mlflow_server(folder, store, port) as uri:
        jobs = start_jobs(uri, pause=0.01)
        time.sleep(8)
    slowest, warned = finish(jobs)
    kept = len(list(spool_of(uri).glob("*.jsonl")))
    with mlflow_server(folder, store, port):
        figures = {"metrics": arrived(uri), "slowest_call_ms": slowest}
    return figures | {"jobs_that_warned": warned, "journals_kept_meanwhile": kept}


def on_servers(place: Path, name: str, store) -> dict[str, object]:
    """The three tests against servers on one kind of store; ``store(test)`` is its URI."""
    figures = {}
    for test in ("up", "slow", "down and back"):
        folder = place / f"{name} {test}"
        folder.mkdir()
        if test == "down and back":
            figures[test] = interrupted(folder, store(folder))
        else:
            with mlflow_server(folder, store(folder), port := free_port()) as address:
                with slow(port, 1.0) if test == "slow" else contextlib.nullcontext(address) as uri:
                    figures[test] = logged(uri)
        print(f"{name}, {test}: {figures[test]}", file=sys.stderr)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ["file", "sqlite", "postgresql"]
    parser.add_argument("--stores", nargs="+", choices=known, default=known)
    stores = parser.parse_args().stores
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped on the way out
    place = Path(tempfile.mkdtemp(prefix="ra-tracking-"))
    os.chdir(place)
    figures = {}
    if "file" in stores:
        figures["SQLite file from nothing"] = logged(default_uri(place / "file"))
    if "sqlite" in stores:
        figures["server on SQLite"] = on_servers(
            place, "sqlite", lambda folder: f"sqlite:///{folder}/store.db"
        )
    if "postgresql" in stores:
        figures["server on PostgreSQL"] = on_postgresql(place)
    print(json.dumps(figures, indent=2))
    return 0


def on_postgresql(place: Path) -> dict[str, object] | str:
    """The three tests, each in a database of its own; or why they cannot be."""
    try:
        folder = place / "postgresql"
        folder.mkdir()
        with postgresql(folder) as store:

            def database(test: Path) -> str:
                name = test.name.replace(" ", "_")
                import psycopg2

                connection = psycopg2.connect(store)
                connection.autocommit = True
                connection.cursor().execute(f"CREATE DATABASE {name}")
                connection.close()
                return store.replace("/postgres", f"/{name}")

            return on_servers(place, "pg", database)
    except RuntimeError as error:
        return f"skipped: {error}"


if __name__ == "__main__":
    sys.exit(main())
