"""Intervals cover as often as they promise, and tests err as seldom; docs/statistics.md has more
rounds of the same simulations."""

import pytest
from helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("coverage")


@pytest.mark.parametrize(("shares", "n"), [((0.02, 0.01), 400), ((0.15, 0.1), 60)])
def test_the_paired_interval_covers_its_difference(tool, shares, n):
    assert 0.93 <= tool.paired(400, shares, n) <= 0.99


def test_over_clusters_a_true_null_is_seldom_rejected(tool):
    over_clusters, over_images = tool.clusters(400)
    assert 0.02 <= over_clusters <= 0.08
    assert over_images > 0.15, "images of one cluster are no independent sample"


def test_the_interval_covers_average_precision(tool):
    """A percentile bootstrap covers it in 90 % of samples and misses on one side."""
    covered, above, below = tool.average_precision(600)
    assert 0.93 < covered < 0.97
    assert above < 0.05 and below < 0.05


def test_the_error_rate_is_held_where_pairs_share_recognizers(tool):
    by_recognizer, by_pair = tool.boundaries(1000)
    assert by_recognizer <= 0.065, "0.05, and two standard errors"
    assert by_pair > 0.15, "pairs that share a recognizer are no independent sample"
