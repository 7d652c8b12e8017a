"""Journals: what a run records is on the local disk before anything is sent to a store.

Every session of a run appends its events to a journal of its own, one JSON object a line, in the
spool of its store. A deliverer (``ra.tracking.deliver``) sends them and removes a journal when all
of it is in the store. Nothing here knows MLflow.
"""

import errno
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import Timeout

from ra.files import locked

_log = logging.getLogger("ra")


def default_uri(results_dir: Path | str) -> str:
    """The SQLite store in the results folder."""
    return f"sqlite:///{Path(results_dir).absolute() / 'mlflow.db'}"


def database_of(uri: str) -> Path | None:
    """The absolute path of a SQLite store; None for any other store."""
    prefix, _, rest = uri.partition("sqlite:///")
    return Path(rest.partition("?")[0]).absolute() if rest and not prefix else None


def spool_of(uri: str) -> Path:
    """The folder of a store's journals: beside a SQLite file, for a server below ``results``."""
    if database := database_of(uri):
        return database.parent / ".spool" / database.name
    store = hashlib.sha256(redact(uri).encode()).hexdigest()[:8]
    return Path("results/.spool", store).absolute()


def redact(text: str) -> str:
    """``text`` without the users and passwords of URIs, whatever characters they are made of."""
    text = re.sub(r"(?i)((?:password|passwd|pwd|token|secret)=)[^&]*", r"\1...", text)
    return re.sub(r"(?s)://.*@", "://", text)


def shown(uri: str) -> str:
    """A store as messages show it: the path of a file, scheme and host of a server."""
    return str(database_of(uri) or re.match(r"[^:]*(://[^/?#]*)?", redact(uri))[0])


def one_line(error: Exception) -> str:
    """The first line of an error, without secrets."""
    lines = redact(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


class Journal:
    """The events of one session of one run.

    Each event is one ``write`` of one line to a file opened for appending: it survives a kill -9
    at any moment, and only a last line can be torn. The session holds a lock as long as it lives,
    which tells the deliverer a running session from a killed one.

    Raises:
        OSError: there is no place for it; nothing is left behind.
    """

    def __init__(self, spool: Path, run_id: str, start: dict[str, Any]):
        spool.mkdir(parents=True, exist_ok=True)
        self.path = spool / f"{time.time_ns() // 1_000_000:013d}-{run_id}.jsonl"
        self._torn = False
        with ExitStack() as held:
            held.enter_context(locked(_lock_of(self.path)))
            held.callback(_lock_of(self.path).unlink, missing_ok=True)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                self._append("start", start)
            except OSError:
                self.path.unlink()
                raise
            self._held = held.pop_all()

    def write(self, event: str, **content: Any) -> None:
        """Append one event. A full disk costs the event and one warning, never the training."""
        try:
            self._append(event, content)
        except OSError as error:
            if not self._torn:
                lost = "tracking: cannot write %s (%s): some metrics are lost"
                _log.warning(lost, self.path, error.strerror)
            self._torn = True

    def _append(self, event: str, content: dict[str, Any]) -> None:
        record = {"event": event, "time": time.time_ns() // 1_000_000, **content}
        # After a failed write the file may end inside a line: begin a new one.
        data = (("\n" if self._torn else "") + json.dumps(record, default=str) + "\n").encode()
        if os.write(self._handle, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """End the session."""
        os.close(self._handle)
        self._held.close()


def is_live(path: Path) -> bool:
    """Whether the session that writes this journal still runs."""
    return is_held(_lock_of(path))


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock file ``lock``."""
    if not lock.exists():
        return False
    try:
        with locked(lock):
            return False
    except Timeout:
        return True
    except OSError:  # the session ended just now, or the spool was removed
        return False


def read(path: Path, position: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
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


def remove(path: Path) -> None:
    """Remove a journal."""
    path.unlink(missing_ok=True)
    _lock_of(path).unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
