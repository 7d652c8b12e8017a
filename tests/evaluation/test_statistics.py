"""Intervals and tests: small cases worked out by hand, against scipy, and by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, ttest_1samp

from ra.evaluation.statistics import (
    NORMAL,
    accuracy,
    compare,
    compare_clusters,
    holm,
    mcnemar,
    mean,
    over_seeds,
    paired_interval,
    rank_correlation,
)


def answers(only_ours, only_theirs, both=0, neither=0):
    ours = [1] * only_ours + [0] * only_theirs + [1] * both + [0] * neither
    theirs = [0] * only_ours + [1] * only_theirs + [1] * both + [0] * neither
    return ours, theirs


@pytest.mark.parametrize(
    ("only_ours", "only_theirs", "p"),
    [
        (5, 0, 2 / 2**5),
        (1, 1, 1.0),
        (3, 1, 2 * (1 + 4) / 2**4),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(only_ours, only_theirs, p):
    assert mcnemar(*answers(only_ours, only_theirs)) == pytest.approx(p)
    assert mcnemar(*answers(only_theirs, only_ours)) == pytest.approx(p)


def test_mcnemar_sees_only_images_on_which_the_two_differ():
    alone = mcnemar(*answers(30, 12))
    assert mcnemar(*answers(30, 12, both=500, neither=70)) == alone
    assert alone == binomtest(12, 42).pvalue


def test_answers_to_other_images_are_no_pairs():
    with pytest.raises(ValueError, match="3 and 2 answers"):
        mcnemar([1, 0, 1], [1, 0])


def score(difference, only_ours, only_theirs, n):
    """Tango's statistic, the most likely shares under ``difference`` found by search."""

    def unlikely(share):  # of images that only theirs gets right
        shares = (share + difference, share, 1 - 2 * share - difference)
        counts = (only_ours, only_theirs, n - only_ours - only_theirs)
        return -sum(k * math.log(max(q, 1e-300)) for k, q in zip(counts, shares, strict=True) if k)

    ends = (max(0, -difference), (1 - difference) / 2)
    share = minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    variance = n * (2 * share + difference * (1 - difference))
    return (only_ours - only_theirs - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize("counts", [(40, 20, 200), (7, 1, 21), (1, 7, 21), (900, 850, 50000)])
def test_the_paired_interval_is_tangos(counts):
    low, high = paired_interval(*counts)
    assert score(low, *counts) == pytest.approx(NORMAL, abs=1e-3)
    assert score(high, *counts) == pytest.approx(-NORMAL, abs=1e-3)


@pytest.mark.parametrize("n", [8, 40, 400])
def test_the_paired_interval_agrees_with_the_exact_test(n):
    for only_ours in range(0, min(n, 20)):
        for only_theirs in range(0, min(n - only_ours, 20)):
            both = n - only_ours - only_theirs
            found = compare(*answers(only_ours, only_theirs, both))
            excludes = not found["low"] <= 0 <= found["high"]
            assert excludes == (found["p"] < 0.05), (only_ours, only_theirs, n)
            assert found["low"] <= found["difference"] <= found["high"]


def test_five_against_none_is_no_certain_gain():
    found = compare(*answers(5, 0, both=395))
    assert found["p"] == 0.0625 and found["low"] == 0 and found["high"] > found["difference"]


def test_equal_answers_differ_by_nothing():
    result = compare([1, 0, 1], [1, 0, 1])
    assert (result["difference"], result["p"], result["n"]) == (0, 1, 3)
    assert result["low"] == pytest.approx(-result["high"]) and result["high"] > 0


def test_the_interval_over_seeds_is_students():
    # Mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027.
    result = over_seeds([1.0, 2.0, 3.0])
    assert result["difference"] == 2
    assert result["high"] - 2 == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert 0.05 < result["p"] < 0.1


@pytest.mark.parametrize("seeds", [[1.5, 1.5], [0.1 + 0.2, 0.3, 0.3]])
def test_seeds_without_spread_promise_nothing(seeds):
    assert np.isnan(over_seeds(seeds)["p"])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]


def test_accuracy_has_a_wilson_interval():
    """15 of 20: centre (p + z2/2n) / (1 + z2/n), z = 1.96, worked out by hand."""
    result = accuracy(pd.Series([1] * 15 + [0] * 5))
    assert (result["value"], result["n"]) == (75, 20)
    assert result["low"] == pytest.approx(53.13, abs=0.01)
    assert result["high"] == pytest.approx(88.81, abs=0.01)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (931, 1853)])
def test_the_interval_is_scipys(hits, n):
    result = accuracy(pd.Series([1] * hits + [0] * (n - hits)))
    theirs = binomtest(hits, n).proportion_ci(method="wilson")
    ours = (result["low"], result["high"])
    assert ours == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-9)


def test_means_have_a_normal_interval():
    result = mean(pd.Series([1.0, 2.0, 3.0, 4.0]))
    assert result["value"] == 2.5
    assert result["high"] - 2.5 == pytest.approx(NORMAL * math.sqrt(5 / 3) / 2)


def test_the_mean_of_one_value_has_no_interval():
    found = mean(pd.Series([2.0]))
    assert found["value"] == 2 and np.isnan([found["low"], found["high"]]).all()


def test_holm_leaves_out_what_has_no_test():
    adjusted = holm([0.01, np.nan, 0.02])
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.02]) and np.isnan(adjusted[1])


def test_a_constant_distance_has_no_rank_correlation():
    nothing = np.full(5, np.inf)
    found = rank_correlation(nothing, np.arange(5.0), seed=0)
    assert np.isnan(found["value"]) and found["n"] == 5


def test_rank_correlation_lies_in_its_interval():
    a = np.arange(30.0)
    b = a + 5 * np.random.default_rng(0).standard_normal(30)
    found = rank_correlation(a, b, seed=0)
    assert 0.5 < found["low"] < found["value"] < found["high"] <= 1


def test_over_clusters_of_one_image_the_interval_is_students():
    ours, theirs = np.array([1, 1, 1, 0, 1, 0]), np.array([0, 1, 0, 0, 0, 1])
    found = compare_clusters(ours, theirs, list("abcdef"))
    low, high = ttest_1samp(100.0 * (ours - theirs), 0).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["n"] == 6


def test_one_cluster_has_no_spread():
    found = compare_clusters([1, 0, 1], [0, 0, 1], ["a"] * 3)
    assert found["n"] == 1 and all(math.isnan(found[name]) for name in ("low", "high", "p"))
