"""Fetches batches in a thread while the step before computes."""

import sys
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor

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
    source, end, before = iter(batches), object(), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    with ThreadPoolExecutor(1) as thread:
        ready = deque(thread.submit(next, source, end) for _ in range(depth + 1))
        try:
            while (item := ready.popleft().result()) is not end:
                ready.append(thread.submit(next, source, end))
                yield item
        finally:
            for fetch in ready:
                fetch.cancel()
            sys.setswitchinterval(before)
