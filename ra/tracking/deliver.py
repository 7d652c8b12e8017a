"""The process that delivers journals to their store.

It holds the spool's lock and delivers the journals of all runs; a run that finds nobody at it
starts one.

    python -m ra.tracking.deliver      # by hand: mend the store, deliver what is left
"""

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
            _log.warning(
                "tracking: %s takes no records now (%s); they are kept in %s and delivered with "
                "the next run",
                shown(uri),
                one_line(error),
                spool,
            )
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


def follow(uri: str) -> None:
    """Deliver while sessions run, and LINGER_S longer; not where another process does."""
    spool = spool_of(uri)
    with contextlib.suppress(Timeout, FileNotFoundError), locked(spool / "lock"):
        store, failures, busy = None, 0, time.monotonic()
        while time.monotonic() - busy <= LINGER_S:
            found = list(spool.glob("*.jsonl"))
            try:
                if found and not (store and store.in_place()):
                    store = store_module().Store(uri, spool)
                if found:
                    store.round()
                failures = 0
            except Exception as error:  # whatever it is: the journals are kept, it is tried again
                failures += 1
                _log.warning(one_line(error))
            # Journals of ended runs that a store does not take wait for the next run.
            if any(map(is_live, found)) or (found and not failures):
                busy = time.monotonic()
            time.sleep(min(RETRY_S, POLL_S * 2**failures))


def _ended(spool: Path) -> list[Path]:
    return [path for path in spool.glob("*.jsonl") if not is_live(path)]


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    store = os.environ.get("MLFLOW_TRACKING_URI") or default_uri("results")
    if sys.argv[1:] == ["follow"]:
        follow(store)
    else:
        prepare_store(store)
        sys.exit(f"{shown(store)}: {left} journals left" if (left := deliver(store)) else 0)
