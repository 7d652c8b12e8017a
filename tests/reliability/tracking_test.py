"""Jobs log to real MLflow servers, on SQLite and on PostgreSQL, that are up, slow, down and back.

    python tests/reliability/tracking_test.py                # or with --stores postgresql

Eight processes log 1,000 metrics each through one spool: to a SQLite file, to a server on SQLite
and to one on PostgreSQL, each started from nothing; then to a server that answers after a second,
and to one that is stopped in the middle and started again. Every metric must arrive once, no job
may wait for the server while it logs. Prints the figures as JSON. PostgreSQL is Debian's package
(installed with apt-get where root may); without it that part is skipped and says why.
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
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
JOBS, METRICS = 8, 1000
JOB = """
import sys, time
from ra.tracking import run as tracking
uri, spool, number, count, pause = sys.argv[1:]
slowest = 0
with tracking.start_run(f"job{number}", "train", {"n": count}, uri=uri, spool=spool) as run:
    for i in range(int(count)):
        begin = time.perf_counter()
        run.log_metrics({"loss": i / 7}, step=i)
        slowest = max(slowest, time.perf_counter() - begin)
        time.sleep(float(pause))
print(slowest)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real ``mlflow server`` on ``store``; started and stopped at will."""

    def __init__(self, folder: Path, store: str):
        self.folder, self.store, self.port = folder, store, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 600
        while not self.answers():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit((self.folder / "server.log").read_text()[-2000:])
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


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


def start_jobs(uri: str, spool: Path, pause: float = 0) -> list[subprocess.Popen]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RA_DAG_ID", None)
    return [
        subprocess.Popen(
            [sys.executable, "-c", JOB, uri, str(spool), str(n), str(METRICS), str(pause)],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for n in range(JOBS)
    ]  # fmt: skip


def finish(jobs: list[subprocess.Popen]) -> tuple[float, int]:
    """(the slowest call that logs, in ms; jobs that said their records come later)."""
    slowest, told = 0.0, 0
    for job in jobs:
        said, errors = job.communicate()
        assert job.returncode == 0, errors
        assert all("delivered later" in line for line in errors.splitlines()), errors
        told += bool(errors)
        slowest = max(slowest, float(said))
    return round(slowest * 1000, 1), told


def arrived(uri: str) -> int:
    """Metrics in the store: each (job, step) with its value once, or AssertionError."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
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


def deliver(spool: Path, uri: str) -> None:
    """Wait until all is delivered; a busy server may answer a first attempt too late."""
    from ra.tracking import run as tracking

    end = time.monotonic() + 600
    while tracking.deliver(spool, uri, timeout_s=300):
        assert time.monotonic() < end, list(spool.iterdir())


def logged(uri: str, spool: Path) -> dict[str, object]:
    """What eight jobs log at once, and how it arrives."""
    begin = time.monotonic()
    slowest, told = finish(start_jobs(uri, spool))
    ended = time.monotonic()
    deliver(spool, uri)
    figures = {"metrics": arrived(uri), "slowest_call_ms": slowest, "jobs_told_later": told}
    return figures | {"jobs_s": round(ended - begin, 1)}


def interrupted(server: Server, spool: Path) -> dict[str, object]:
    """The server is killed while the jobs log, and comes back when they have ended."""
    jobs = start_jobs(server.uri, spool, pause=0.01)
    time.sleep(8)
    server.stop()
    slowest, told = finish(jobs)
    kept = len(list(spool.glob("*.jsonl")))
    server.start()
    deliver(spool, server.uri)
    figures = {"metrics": arrived(server.uri), "slowest_call_ms": slowest}
    return figures | {"jobs_told_later": told, "journals_kept_meanwhile": kept}


def on_servers(place: Path, name: str, store) -> dict[str, object]:
    """The three tests against servers on one kind of store; ``store(test)`` is its URI."""
    figures = {}
    for test in ("up", "slow", "down and back"):
        folder = place / f"{name} {test}"
        folder.mkdir()
        server = Server(folder, store(folder))
        try:
            server.start()
            if test == "up":
                figures[test] = logged(server.uri, folder / "spool")
            elif test == "slow":
                with slow(server.port, 1.0) as address:
                    figures[test] = logged(address, folder / "spool")
            else:
                figures[test] = interrupted(server, folder / "spool")
        finally:
            server.stop()
        print(f"{name}, {test}: {figures[test]}", file=sys.stderr)
    return figures


def main() -> int:
    sys.path.insert(0, str(ROOT))
    from ra.tracking import run as tracking

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ["file", "sqlite", "postgresql"]
    parser.add_argument("--stores", nargs="+", choices=known, default=known)
    stores = parser.parse_args().stores
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped on the way out
    place = Path(tempfile.mkdtemp(prefix="ra-tracking-"))
    uri = tracking.default_uri(place / "file")
    figures = {}
    if "file" in stores:
        figures["SQLite file from nothing"] = logged(uri, place / "spool")
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
