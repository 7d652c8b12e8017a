"""Jobs of one machine begin in a process that has torch imported already.

Importing torch, torchvision and the rest takes a job four to six seconds of processor time. The
workflow starts one server (``start``), which imports them once. ``ra``, called by a rule, hands it
its arguments, environment, folder, limits and streams (``run``), and ends as the process ends that
the server forks for it (``ra.cli.serve``). Each job is still a process of its own: nothing
passes from one to the next. A job dies with its ``ra``, and the server lives no longer than
Snakemake and the jobs that it has begun.

A job that cannot be served (another number of threads, another Python, no server) runs in its own
process, with the same numbers. ``RA_WARM=0`` in the environment does without the server.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import send_handle
from pathlib import Path

VARIABLE = "RA_WARM"
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def start(threads: int) -> None:
    """Start the server of this process and name it to the jobs in the environment.

    Args:
        threads: of the jobs that it serves: libraries read this when they are imported.
    """
    if os.environ.get(VARIABLE) == "0":
        return
    try:
        path = Path(tempfile.mkdtemp(prefix="ra-warm-"), "socket")
    except OSError:  # nowhere to write: each job imports for itself
        return
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    server = subprocess.Popen(
        [sys.executable, "-m", "ra.cli.serve", str(path), str(threads)],
        env=environment,
        stdin=subprocess.PIPE,  # its end tells the server that this process has ended
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches a job once, through its `ra`
    )
    atexit.register(server.stdin.close)
    os.environ[VARIABLE] = str(path)


def run(arguments: Sequence[str], threads: int) -> int | None:
    """Exit code of ``ra ARGUMENTS`` in a process of the server; None: run it here."""
    path = os.environ.get(VARIABLE, "0")
    if path == "0" or "LOCAL_RANK" in os.environ:  # torchrun's processes belong to it
        return None
    try:
        with Client(path, "AF_UNIX") as server:
            return _served(server, arguments, threads)
    except (OSError, EOFError):
        return None


def _served(server: Connection, arguments: Sequence[str], threads: int) -> int | None:
    mask = os.umask(0)
    os.umask(mask)
    server.send(
        {
            "python": (sys.prefix, threads),
            "arguments": list(arguments),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "umask": mask,
            "limits": [(limit, resource.getrlimit(limit)) for limit in LIMITS],
        }
    )
    for stream in (1, 2):
        send_handle(server, stream, None)
    if not server.recv():
        return None

    def forward(number: int, _frame: object) -> None:
        with suppress(OSError):  # it has just ended
            server.send(number)

    for number in FORWARDED:
        signal.signal(number, forward)
    try:
        code = server.recv()
    except (OSError, EOFError):
        code = -signal.SIGKILL
    if code < 0:
        name = signal.Signals(-code).name
        print(f"ra: the process of this job was ended by {name}", file=sys.stderr)
    return code if code >= 0 else 128 - code
