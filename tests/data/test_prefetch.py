"""Batches are fetched ahead in order, a bounded number of them."""

import threading
from contextlib import closing

import pytest

from ra.data.prefetch import ahead


def test_fetching_ahead_keeps_the_order_and_raises_where_it_failed():
    def batches():
        yield from range(5)
        raise OSError("gone")

    got = []
    with pytest.raises(OSError, match="gone"):
        got.extend(ahead(batches()))
    assert got == list(range(5))


def test_fetching_ahead_is_bounded_and_ends_when_closed():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    before = threading.active_count()
    with closing(ahead(endless(), depth=2)) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
    assert threading.active_count() == before
    assert len(taken) <= 3 + 2 + 1
