"""The spool of the tracking: what a run says is on the local disk before it is sent anywhere.

Every session of a run appends its events to a journal of its own, ``<ms>-<run>.jsonl``, one JSON
object a line. One courier process per spool and store (``python -m ra.tracking.deliver``) reads the
journals and delivers them, so that jobs share one connection and one import of MLflow, and a slow
or dead store is never felt by a training. A journal is removed when all of it is delivered;
``<ms>-<run>.sent`` beside it says how far the courier came. Nothing here knows MLflow.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_log = logging.getLogger("ra")
_couriers: list[subprocess.Popen] = []  # kept, so that ended ones are reaped
URI_VARIABLE = "RA_COURIER_URI"


def strip_credentials(text: str) -> str:
    """``text`` without the user and password of the URIs in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


class Journal:
    """The events of one session of one run, written by the session that lives.

    Each event is one ``write`` of one line on a file opened for appending: it survives a kill -9
    at any moment, and only a last line can be torn. The file is locked as long as the session
    lives (the kernel lets go of it however the process ends), which tells the courier a running
    session from a killed one.
    """

    def __init__(self, spool: Path, run_id: str, start: dict[str, Any]):
        spool.mkdir(parents=True, exist_ok=True)
        self.path = spool / f"{time.time_ns() // 1_000_000:013d}-{run_id}.jsonl"
        hidden = self.path.with_suffix(".new")
        self._handle = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._failed = False
        self.write("start", **start)
        os.rename(hidden, self.path)

    def write(self, event: str, **content: Any) -> None:
        """Append one event. A full disk costs the event and one warning, never the training."""
        record = {"event": event, "time": time.time_ns() // 1_000_000, **content}
        # After a failed write the file may end inside a line: begin a new one.
        line = ("\n" if self._failed else "") + json.dumps(record, default=str) + "\n"
        data = line.encode()
        try:
            complete = os.write(self._handle, data) == len(data)
            reason = "disk full"
        except OSError as error:
            complete, reason = False, error.strerror
        if not complete and not self._failed:
            _log.warning("tracking: cannot write %s (%s): some metrics are lost", self.path, reason)
        self._failed = self._failed or not complete

    def close(self) -> None:
        # Unlocked by name: forked loader workers hold the handle, and with it the lock, as well.
        fcntl.flock(self._handle, fcntl.LOCK_UN)
        os.close(self._handle)


def read(path: Path, position: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The events of a journal from byte ``position`` on, each with the position after it.

    A last line without its end is left for the next reading; lines torn by a full disk are skipped.
    """
    with open(path, "rb") as handle:
        handle.seek(position)
        for line in handle:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            try:
                yield json.loads(line), position
            except ValueError:
                continue


def is_live(path: Path) -> bool:
    """Whether the session that writes this journal still runs."""
    try:
        with open(path, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def journals(spool: Path, store: str | None = None) -> list[tuple[Path, dict[str, Any]]]:
    """The journals with their start events, oldest first; ``store``: only those of this store."""
    found = []
    for path in sorted(spool.glob("*.jsonl")):
        try:
            start, _ = next(read(path, 0))
        except (StopIteration, FileNotFoundError):  # delivered meanwhile, or torn at once
            continue
        if store in (None, start.get("store")):
            found.append((path, start))
    return found


def sent(path: Path) -> dict[str, Any]:
    """How far a journal is delivered: ``position`` in bytes and the store's ``run``.

    A torn note counts as nothing delivered: a store drops what it has already.
    """
    try:
        return json.loads(path.with_suffix(".sent").read_text())
    except (OSError, ValueError):
        return {"position": 0, "run": None}


def note_sent(path: Path, position: int, run: str | None) -> None:
    path.with_suffix(".sent").write_text(json.dumps({"position": position, "run": run}))


def remove(path: Path) -> None:
    """Remove a journal that is delivered; its note first, for without it all is sent again."""
    path.with_suffix(".sent").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def trouble(spool: Path, uri: str) -> str:
    """Why the courier cannot deliver, one line; "" when it can."""
    try:
        return _trouble_file(spool, strip_credentials(uri)).read_text()
    except OSError:
        return ""


def set_trouble(spool: Path, store: str, reason: str) -> None:
    with contextlib.suppress(OSError):  # a full disk; the waiting job then says "no answer"
        if reason:
            _trouble_file(spool, store).write_text(reason)
        else:
            _trouble_file(spool, store).unlink(missing_ok=True)


def _trouble_file(spool: Path, store: str) -> Path:
    return courier_lock(spool, store).with_suffix(".trouble")


def courier_lock(spool: Path, store: str) -> Path:
    return spool / f"courier-{hashlib.sha256(store.encode()).hexdigest()[:8]}.lock"


def wait(paths: list[Path], uri: str, timeout_s: float) -> str:
    """Wait until these journals of one spool are delivered; returns why they are not, or ""."""
    spool = paths[0].parent
    note = _trouble_file(spool, strip_credentials(uri))
    since, ensured = time.time(), 0.0
    while any(path.exists() for path in paths):
        with contextlib.suppress(OSError):
            if note.stat().st_mtime > since:
                return trouble(spool, uri)
        if time.time() - since > timeout_s:
            return trouble(spool, uri) or f"no answer in {timeout_s:.0f} s"
        if time.time() - ensured > 2:  # not oftener: a courier may end at once, again and again
            ensured = time.time()
            ensure_courier(spool, uri)
        time.sleep(0.05)
    return ""


def ensure_courier(spool: Path, uri: str) -> None:
    """Start a courier for this spool and store unless one is at work. Never raises."""
    try:
        with FileLock(courier_lock(spool, strip_credentials(uri)), timeout=0):
            pass
    except (Timeout, OSError):
        return
    _couriers[:] = [process for process in _couriers if process.poll() is None]
    package = Path(__file__).parents[2]
    # The URI travels in the environment, where other users cannot read it.
    environment = {**os.environ, URI_VARIABLE: uri, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    # Without a process to be had the journal waits for another run.
    with contextlib.suppress(OSError), open(spool / "courier.log", "a") as log:
        # A session of its own: a Ctrl-C or a kill of the job leaves the courier to finish.
        courier = subprocess.Popen(
            [sys.executable, "-m", "ra.tracking.deliver", str(spool)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        _couriers.append(courier)
