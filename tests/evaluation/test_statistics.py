"""Paired tests: small cases worked out by hand, and against scipy where it is exact."""

import numpy as np
import pytest
from scipy.stats import binomtest

from ra.evaluation.statistics import compare, holm, mcnemar, over_seeds


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


def test_the_interval_is_that_of_drawing_images():
    ours, theirs = (np.array(part) for part in answers(40, 20, both=100, neither=40))
    result = compare(ours, theirs)
    assert (result["difference"], result["n"]) == (10.0, 200)
    generator = np.random.default_rng(7)
    drawn = generator.integers(0, 200, (4000, 200))
    differences = 100 * (ours[drawn].mean(axis=1) - theirs[drawn].mean(axis=1))
    low, high = np.percentile(differences, [2.5, 97.5])
    assert result["low"] == pytest.approx(low, abs=0.6)
    assert result["high"] == pytest.approx(high, abs=0.6)
    assert result["low"] > 0 and result["p"] < 0.05


def test_equal_answers_differ_by_nothing():
    result = compare([1, 0, 1], [1, 0, 1])
    assert result == {"difference": 0, "low": 0, "high": 0, "p": 1, "n": 3}


def test_the_interval_over_seeds_is_students():
    # Mean 2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027.
    result = over_seeds([1.0, 2.0, 3.0])
    assert result["difference"] == 2
    assert result["high"] - 2 == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert 0.05 < result["p"] < 0.1


def test_seeds_without_spread_promise_nothing():
    assert np.isnan(over_seeds([1.5, 1.5])["p"])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
