"""The process that delivers journals to their store.

Every run starts one. One of them at a time, the holder of the spool's lock, delivers the journals
of all runs; the others wait to take its place until their runs have ended.

    python -m ra.tracking.deliver      # by hand: mend the store, deliver what is left
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from pathlib import Path

from filelock import Timeout

from ra.files import locked
from ra.tracking.journal import database_of, default_uri, is_live, one_line, shown, spool_of

_log = logging.getLogger("ra")
POLL_S = 1.0  # what running sessions wrote is sent this often
LINGER_S = 15.0  # without a running session a deliverer stays this long: the next job has it ready
RETRY_S = 60.0  # the longest pause after failures


def deliver(uri: str | None = None, timeout_s: float = 60.0) -> int:
    """Deliver the journals of ended runs; returns how many are left. Never raises.

    Args:
        uri: the store; None takes $MLFLOW_TRACKING_URI.
        timeout_s: how long to wait for another process that delivers, in seconds.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    spool, end = spool_of(uri), time.monotonic() + timeout_s
    while (ended := _ended(spool)) and time.monotonic() < end:
        try:
            with locked(spool / "lock"):
                store_module().Store(uri, spool).round()
        except Timeout:
            time.sleep(0.1)
        except Exception as error:  # whatever it is: the journals are kept
            _log.warning("tracking: %s takes no records now (%s)", shown(uri), one_line(error))
            break
    return len(_ended(spool)) if ended else 0


def prepare_store(uri: str) -> None:
    """Create or mend the database of a SQLite store; a server does so itself.

    Mending lets a results folder that was moved or copied find its pictures and models.
    """
    if database := database_of(uri):
        spool_of(uri).mkdir(parents=True, exist_ok=True)
        # Where a deliverer is at work, it has done it.
        with contextlib.suppress(Timeout), locked(spool_of(uri) / "lock"):
            store_module().prepare(database)


def store_module():
    """``ra.tracking.store``, and with it MLflow: no telemetry, no chatter, short waits."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the password
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # A deliverer tries again itself, and looks first whether a lost answer's run was created.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from ra.tracking import store

    return store


def main(journal: Path, uri: str) -> None:
    """Deliver until no run is recorded any more, or until another process does and ours ended."""
    while True:
        live = is_live(journal)  # looked up first: who holds the lock now will see its end
        try:
            with locked(journal.with_name("lock")):
                _work(uri, journal.parent)
                return journal.with_name("trouble").unlink(missing_ok=True)
        except Timeout:
            if not live:
                return
        except FileNotFoundError:  # the spool was removed
            return
        time.sleep(POLL_S)


def _work(uri: str, spool: Path) -> None:
    """Deliver round by round; ends where the store's file was removed, for MLflow keeps that."""
    trouble, file = spool / "trouble", database_of(uri) or spool / "lock"
    store, inode, failures, busy = None, 0, 0, time.monotonic()
    while True:
        active = any(spool.glob("*.jsonl"))
        try:
            store = store or store_module().Store(uri, spool)
            inode = inode or file.stat().st_ino
            if not file.exists() or file.stat().st_ino != inode:
                return
            store.round()
            failures = 0
            trouble.unlink(missing_ok=True)
        except Exception as error:  # whatever it is: the journals are kept and it is tried again
            failures += 1
            _log.warning(one_line(error))
            with contextlib.suppress(OSError):
                if failures == 1:  # a job finds the note and warns, see ra.tracking.run
                    trouble.write_text(one_line(error))
            active = any(map(is_live, spool.glob("*.jsonl")))
        if active:
            busy = time.monotonic()
        if time.monotonic() - busy > LINGER_S:
            return
        time.sleep(min(RETRY_S, POLL_S * 2**failures))


def _ended(spool: Path) -> list[Path]:
    return [path for path in spool.glob("*.jsonl") if not is_live(path)]


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    store = os.environ.get("MLFLOW_TRACKING_URI") or default_uri("results")
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), store)
    else:
        prepare_store(store)
        sys.exit(f"{shown(store)}: {left} journals left" if (left := deliver(store)) else 0)
