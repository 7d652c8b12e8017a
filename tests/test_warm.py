"""Jobs in processes forked by the warm server: as in a process of their own."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ra import warm

# The server with another command than ra's and nothing imported; the client as ra calls it.
COMMAND = """
import json, os, resource, sys, time
from ra.cli import serve

def main(arguments):
    print(json.dumps({
        "argv": sys.argv, "folder": os.getcwd(), "mine": os.environ.get("MINE"),
        "umask": oct(os.umask(0)), "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "parent": os.getppid(), "warm": os.environ["RA_WARM"]}), flush=True)
    if arguments[0] == "sleep":
        time.sleep(60)
    if arguments[0] == "fault":
        raise ValueError("a fault of this program")
    print("to stderr", file=sys.stderr)
    return int(arguments[0])

serve.MODULES, serve.main = (), main
serve.serve(serve.Path(sys.argv[1]), 1)
"""
CLIENT = "import sys; from ra import warm; sys.exit(warm.run(sys.argv[2:], int(sys.argv[1])) or 0)"


class Warm:
    """A server at a path, and its clients."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir()
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(path)], stdin=subprocess.PIPE
        )
        until(path.exists)

    def ask(self, *arguments: object, threads: int = 1, **options: object) -> subprocess.Popen:
        options["env"] = {**os.environ, "RA_WARM": str(self.path)} | options.get("env", {})
        return subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(threads), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def job(self, client: subprocess.Popen) -> psutil.Process:
        """The process of a job that has printed its first line."""
        assert client.stdout.readline()
        (child,) = psutil.Process(self.process.pid).children()
        return child


@pytest.fixture
def server(tmp_path):
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's children ignore it
    started = Warm(tmp_path / "place/socket")
    yield started
    signal.signal(signal.SIGHUP, hang_up)
    started.process.stdin.close()
    assert started.process.wait(10) == 0
    assert not started.path.parent.exists()


def until(true, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_job_has_its_clients_arguments_folder_environment_limits_and_streams(server, tmp_path):
    def limited():
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))

    client = server.ask(7, "x y", cwd=tmp_path, env={"MINE": "é"}, preexec_fn=limited)
    said, complaint = client.communicate()
    assert client.returncode == 7 and complaint == "to stderr\n"
    assert json.loads(said) == {
        "argv": ["ra", "7", "x y"],
        "folder": str(tmp_path),
        "mine": "é",
        "umask": "0o27",
        "files": 200,
        "parent": server.process.pid,
        "warm": "0",
    }


def test_nothing_passes_from_one_job_to_the_next(server, tmp_path):
    first = server.ask(0, cwd=tmp_path, env={"MINE": "a"})
    second = server.ask(0, cwd="/", env={"MINE": "b"})
    found = [json.loads(client.communicate()[0]) for client in (first, second)]
    assert [job["mine"] for job in found] == ["a", "b"]
    assert [job["folder"] for job in found] == [str(tmp_path), "/"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_ra_reaches_the_job(server, number):
    client = server.ask("sleep")
    job = server.job(client)
    client.send_signal(number)
    _, complaint = client.communicate(timeout=10)
    assert not job.is_running()
    if number == signal.SIGINT:  # as Python answers it
        assert client.returncode == 1 and "KeyboardInterrupt" in complaint
    else:
        assert client.returncode == 128 + number and number.name in complaint


def test_a_job_dies_with_its_ra_and_the_server_goes_on(server):
    client = server.ask("sleep")
    job = server.job(client)
    client.kill()
    until(lambda: not job.is_running())
    assert server.ask(0).wait() == 0


def test_a_job_that_is_killed_is_told_of_in_one_line(server):
    client = server.ask("sleep")
    server.job(client).kill()
    assert client.communicate()[1] == "ra: the process of this job was ended by SIGKILL\n"
    assert client.returncode == 137


def test_a_fault_keeps_its_traceback(server):
    client = server.ask("fault")
    assert "ValueError: a fault of this program" in client.communicate()[1]
    assert client.returncode == 1


def test_jobs_outlive_snakemake_and_the_server_its_jobs_only(server):
    client = server.ask("sleep")
    job = server.job(client)
    server.process.stdin.close()
    until(lambda: server.ask(7).wait() == 0)  # no longer served: the client has nothing to run
    assert job.is_running() and server.process.poll() is None
    client.terminate()
    assert client.wait(10) == 143 and server.process.wait(10) == 0


@pytest.mark.parametrize(
    ("threads", "environment"), [(2, {}), (1, {"RA_WARM": "0"}), (1, {"LOCAL_RANK": "0"})]
)
def test_what_cannot_be_served_runs_in_its_own_process(server, threads, environment):
    client = server.ask(7, threads=threads, env=environment)
    assert client.communicate() == ("", "") and client.returncode == 0


def test_a_server_that_is_gone_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("RA_WARM", str(tmp_path / "nobody"))
    assert warm.run(["evaluate"], 1) is None


def test_a_training_computes_the_same_in_the_server(prepared, tmp_path):
    """By the real server and the real command, as the workflow's rules run them."""
    command = ["train", "--data", prepared, "--task", "dn", "--l", "0", "--epochs", "1"]
    command += ["--batch-size", "8", "--channels", "4", "--blocks", "1", "--device", "cpu"]
    command = [str(part) for part in [*command, "--threads", "1", "--save-dir"]]
    code = """
import os, sys, time
from ra import warm
warm.start(1)
while not os.path.exists(os.environ["RA_WARM"]):
    time.sleep(0.01)
print(warm.run(sys.argv[1:], 1))
"""
    environment = {k: v for k, v in os.environ.items() if k != "RA_WARM"}
    warmly = subprocess.run(
        [sys.executable, "-c", code, *command, str(tmp_path / "warm")],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert warmly.stdout.endswith("0\n"), warmly.stderr  # None: it was not served
    coldly = [sys.executable, "-m", "ra", *command, str(tmp_path / "cold")]
    subprocess.run(coldly, env=environment, check=True)
    warm_file, cold_file = (tmp_path / p / "processor.safetensors" for p in ("warm", "cold"))
    assert warm_file.read_bytes() == cold_file.read_bytes()
