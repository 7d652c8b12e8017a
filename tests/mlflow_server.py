"""A real ``mlflow server``, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from browser import free_port


@contextlib.contextmanager
def mlflow_server(folder: Path, store: str, port: int = 0, seconds: float = 600) -> Iterator[str]:
    """Serve ``store`` on ``port`` (0: a free one); yields its address as soon as it answers."""
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", store]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with open(folder / "server.log", "a") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            # Without its job runners, which have sessions of their own and would outlive it.
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + seconds
        while not _answers(address):
            assert server.poll() is None and time.monotonic() < end, folder / "server.log"
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
