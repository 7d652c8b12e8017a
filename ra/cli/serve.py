"""The process that forks the jobs of a workflow; see ``ra.warm``, which starts and asks it."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle
from pathlib import Path

from ra.cli import main
from ra.warm import VARIABLE

# What trainings and evaluations import in the end; none touches CUDA, which survives no fork.
MODULES = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "ra.jobs.core",
    "torch._dynamo",  # by torch's optimizers at their first step
    "torchmetrics.functional.image",
)


class Server:
    """Forks a process for each request; ends when its standard input has and all jobs have."""

    def __init__(self, path: Path, threads: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._python = (sys.prefix, threads)
        self._context = get_context("fork")
        self._jobs: dict[int, tuple[BaseProcess, Connection]] = {}  # by sentinel

    def run(self) -> None:
        lifeline = sys.stdin.fileno()
        asked = True
        while asked or self._jobs:
            clients = {c: p for p, c in self._jobs.values() if not c.closed}
            first = [self._listener, lifeline] if asked else []
            for ready in wait([*first, *self._jobs, *clients]):
                if ready == lifeline:
                    asked = False
                    self._listener.close()
                elif ready is self._listener:
                    self._begin(Connection(self._listener.accept()[0].detach()))
                elif ready in self._jobs:
                    self._end(ready)
                elif not ready.closed:
                    _obey(ready, clients[ready])

    def _begin(self, client: Connection) -> None:
        streams = []
        try:
            request = client.recv()
            streams += [recv_handle(client) for _ in range(2)]
            if request["python"] != self._python:
                client.close()
                return
            others = [self._listener, client, *(c for _, c in self._jobs.values())]
            process = self._context.Process(target=_job, args=(request, streams, others))
            process.start()
        except (OSError, EOFError):
            client.close()
            return
        finally:
            for stream in streams:
                os.close(stream)
        self._jobs[process.sentinel] = process, client
        with suppress(OSError):  # gone meanwhile: then its end is what comes next
            client.send(True)

    def _end(self, sentinel: int) -> None:
        process, client = self._jobs.pop(sentinel)
        process.join()
        with suppress(OSError):
            client.send(process.exitcode)
        client.close()
        process.close()


def _obey(client: Connection, process: BaseProcess) -> None:
    """Pass a signal on; the end of a client is the end of its job."""
    try:
        number = client.recv()
    except (OSError, EOFError):
        number = signal.SIGKILL
        client.close()
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _job(request: dict, streams: Sequence[int], others: Sequence[object]) -> None:
    """In the forked process: become what the client would have been, and run its command."""
    for other in others:
        other.close()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"] | {VARIABLE: "0"})
    os.chdir(request["folder"])
    os.umask(request["umask"])
    for limit, values in request["limits"]:
        if resource.getrlimit(limit) != tuple(values):
            resource.setrlimit(limit, values)
    sys.argv = ["ra", *request["arguments"]]
    sys.exit(main(request["arguments"]))


def serve(path: Path, threads: int) -> None:
    """Listen at ``path`` until standard input and the last job have ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = Server(path, threads)  # who asks while modules are imported is served after it
        for name in MODULES:
            importlib.import_module(name)
        gc.freeze()  # its pages stay shared with the jobs
        server.run()
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
