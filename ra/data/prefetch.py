"""Fetches batches in a thread while the step before computes."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Generator, Iterable

SWITCH_S = 1e-4  # seconds; Python's default of 5 ms is a sixth of a small training step


def ahead(batches: Iterable, depth: int = 2) -> Generator:
    """The items of ``batches``, fetched by a thread up to ``depth`` ahead; close it when done.

    The next batch is read and degraded while a step computes outside Python's lock. Each operator
    of the step takes the lock again, so the thread has to release it often (SWITCH_S). A
    DataLoader with workers fetches ahead by itself, and must not fork them from a thread.
    """
    if getattr(batches, "num_workers", 0):
        yield from batches
        return
    ready: queue.Queue = queue.Queue(depth)
    end, stopped = object(), threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def fetch() -> None:
        try:
            for item in batches:
                put(item)
                if stopped.is_set():
                    return
            put(end)
        except BaseException as error:  # raised again in the consuming thread
            put(end, error)

    thread = threading.Thread(target=fetch, daemon=True)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
        sys.setswitchinterval(before)
