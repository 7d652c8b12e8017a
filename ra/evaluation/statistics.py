"""Intervals (95 %), paired tests and corrections: every figure of a table that is not a plain mean.

Sources: Wilson, JASA 1927; McNemar, Psychometrika 1947 (exact, binomial form); Tango, Stat. Med.
1998 (paired proportions); Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 11
(jackknife) and 13 (percentile interval); Holm, Scand. J. Stat. 1979. scipy is imported in the
functions that need it, because it costs a job most of a second.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import pandas as pd

NORMAL = 1.959963984540054  # 97.5 % of the normal distribution lie below
LEVEL = 0.05  # of significance; intervals are at 1 - LEVEL
ENDS = [2.5, 97.5]  # percentiles of a bootstrap interval
# Metrics of all images together, whose numbers for single images are ``contributions``.
POOLED = ("map50", "map", "miou")


def accuracy(hits: pd.Series) -> dict[str, float]:
    """Percentage of hits (0 or 1), its Wilson interval and n."""
    from scipy.stats import binomtest

    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    value, low, high = (100 * float(x) for x in (hits.mean(), interval.low, interval.high))
    return {"value": value, "low": low, "high": high, "n": len(hits)}


def mean(values: pd.Series) -> dict[str, float]:
    """Mean, its normal interval and n; the interval of one value is NaN."""
    error = NORMAL * values.std() / sqrt(len(values))
    value = values.mean()
    return {"value": value, "low": value - error, "high": value + error, "n": len(values)}


def mcnemar(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Two-sided exact p that two classifications of the same images err equally often.

    Args:
        ours, theirs: hits (0 or 1) of the same images, in the same order.

    >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
    from scipy.stats import binomtest

    only_ours, only_theirs = _discordant(ours, theirs)
    if only_ours + only_theirs == 0:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue)


def _discordant(ours: Sequence[int], theirs: Sequence[int]) -> tuple[int, int]:
    """How many images only one of the two gets right."""
    ours, theirs = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} answers are not pairs")
    return int((ours & ~theirs).sum()), int((~ours & theirs).sum())


def compare(ours: Sequence[int], theirs: Sequence[int]) -> dict[str, float]:
    """Difference of two accuracies (percentage points), its interval, McNemar's exact p, and n.

    The interval is Tango's. It excludes 0 exactly where p is below LEVEL: the exact test rejects
    less often than Tango's score test, and where it does not reject, the interval is widened to 0.
    """
    counts, n, p = _discordant(ours, theirs), len(ours), mcnemar(ours, theirs)
    low, high = paired_interval(*counts, n)
    if p >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    values = {"difference": (counts[0] - counts[1]) / n, "low": low, "high": high}
    return {**{name: 100 * value for name, value in values.items()}, "p": p, "n": n}


def compare_clusters(
    ours: Sequence[int], theirs: Sequence[int], clusters: Sequence[object]
) -> dict[str, float]:
    """As ``compare`` where images of one cluster are alike: what holds for further clusters.

    Returns:
        low, high (Student's interval of the delete-a-cluster jackknife, percentage points), p and
        n, the number of clusters; NaN where there is one.
    """
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    _, cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums, sizes = np.bincount(cluster, differences), np.bincount(cluster)
    if len(sizes) < 2:
        return {"low": np.nan, "high": np.nan, "p": np.nan, "n": len(sizes)}
    left = (sums.sum() - sums) / (sizes.sum() - sizes)
    found = jackknife(100 * np.concatenate([[differences.mean()], left]))
    return {"low": found["low"], "high": found["high"], "p": found["p"], "n": len(sizes)}


def paired_interval(only_ours: int, only_theirs: int, n: int) -> tuple[float, float]:
    """Tango's score interval of the difference of two proportions of the same ``n`` images.

    Args:
        only_ours, only_theirs: how many images only one of the two gets right.
    """
    from scipy.optimize import brentq

    def score(difference: float) -> float:
        linear = (2 * n - only_ours + only_theirs) * difference - only_ours - only_theirs
        root = linear**2 + 8 * n * only_theirs * difference * (1 - difference)
        share = (sqrt(max(root, 0)) - linear) / (4 * n)  # of only_theirs, the most likely one
        variance = n * (2 * share + difference * (1 - difference))
        return (only_ours - only_theirs - n * difference) / sqrt(max(variance, 1e-300))

    observed = (only_ours - only_theirs) / n
    low = high = observed
    if observed > -1:
        low = brentq(lambda d: score(d) - NORMAL, -1 + 1e-12, observed)
    if observed < 1:
        high = brentq(lambda d: score(d) + NORMAL, observed, 1 - 1e-12)
    return low, high


def over_seeds(differences: Sequence[float]) -> dict[str, float]:
    """Mean over two or more seeds, its Student interval, and p of a one-sample t test.

    Seeds that agree up to rounding have no spread: interval and p are NaN.
    """
    from scipy.stats import ttest_1samp

    mean = float(np.mean(differences))
    if np.ptp(differences) <= 1e-9 * max(1.0, abs(mean)):
        return {"difference": mean, "low": np.nan, "high": np.nan, "p": np.nan}
    test = ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(1 - LEVEL)
    return {"difference": mean, "low": float(low), "high": float(high), "p": float(test.pvalue)}


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p: below LEVEL, so with 95 % certainty no row of the family errs.

    NaN is no test: it stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]  # NaN is sorted to the end
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def resamples(count: int, rounds: int, seed: int) -> np.ndarray:
    """Bootstrap samples of image positions (1 + rounds, count); the first is every image once."""
    drawn = np.random.default_rng(seed).integers(0, count, (rounds, count))
    return np.concatenate([np.arange(count)[None], drawn])


def bootstrap(values: np.ndarray) -> dict[str, float]:
    """The value of all images (the first) and the percentile interval of the other samples."""
    low, high = np.nanpercentile(values[1:], ENDS)
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def leave_out(count: int, groups: int = 50) -> list[np.ndarray]:
    """Samples of image positions for ``jackknife``: all, then all without each of the groups."""
    group = np.arange(count) % min(groups, count)
    return [np.arange(count), *(np.flatnonzero(group != left) for left in range(group.max() + 1))]


def jackknife(values: np.ndarray) -> dict[str, float]:
    """Value of all images (the first), its interval and the p of 0, from samples of ``leave_out``.

    Student's interval from the delete-a-group jackknife. In simulations of 30 to 300 images it
    covers average precision in 94 to 95 % of samples, the percentile bootstrap in 91 to 94 %.
    Without spread p is NaN.
    """
    from scipy.stats import t

    value, left = float(values[0]), values[1:]
    freedom = len(left) - 1
    error = sqrt(freedom / len(left) * ((left - left.mean()) ** 2).sum())
    half = error * t.ppf(1 - LEVEL / 2, freedom)
    p = 2 * t.sf(abs(value) / error, freedom) if error else np.nan
    return {"value": value, "low": value - half, "high": value + half, "p": float(p)}


def contributions(values: np.ndarray, count: int) -> np.ndarray:
    """One number an image, (count,), from values of samples of ``leave_out``; see ``jackknifed``.

    Each is the value of all images plus what leaving out its group takes away, by Taylor the
    group's part in it.
    """
    value, left = values[0], values[1:]
    parts = value + (len(left) - 1) * (left.mean() - left)
    return parts[np.arange(count) % len(left)]


def jackknifed(values: Sequence[float], groups: int = 50) -> dict[str, float]:
    """The metric of all images (%), its interval and the p of 0, from ``contributions``.

    A difference of two metrics is the same of the differences of their contributions.
    """
    parts = 100 * np.asarray(values, dtype=float)[:groups]  # one of each group
    value, count = parts.mean(), len(parts)
    left = value + (value - parts) / max(count - 1, 1)
    return {**jackknife(np.concatenate([[value], left])), "n": len(values)}


def share(values: pd.Series, metric: str) -> dict[str, float]:
    """A metric of recognition (%), its interval and n, from its number for each image."""
    if metric not in POOLED:
        return accuracy(values)
    found = jackknifed(values)
    low, high = max(found["low"], 0.0), min(found["high"], 100.0)
    return {"value": found["value"], "low": low, "high": high, "n": len(values)}


def difference(ours: pd.Series, theirs: pd.Series, metric: str) -> dict[str, float]:
    """Difference of two metrics of the same images, as ``compare``."""
    if metric not in POOLED:
        return compare(ours, theirs)
    found = jackknifed(np.asarray(ours) - np.asarray(theirs))
    return {"difference": found.pop("value"), **found}


def rank_coefficient(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient; NaN where either is constant."""
    from scipy.stats import spearmanr

    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def rank_correlation(a: np.ndarray, b: np.ndarray, seed: int, rounds: int = 500) -> dict:
    """Spearman's coefficient, its bootstrap interval and n; NaN where either is constant."""
    values = np.array([rank_coefficient(a[d], b[d]) for d in resamples(len(a), rounds, seed)])
    known = np.isfinite(values[1:]).any()
    found = bootstrap(values) if known else {"value": values[0], "low": np.nan, "high": np.nan}
    return {**found, "n": len(a)}


def permuted_correlation(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> tuple[float, float]:
    """Correlation of centred ``a`` and ``b``, and its two-sided p under ``orders`` of ``b``.

    Both are NaN where ``a`` or ``b`` is zero throughout.

    Args:
        orders: positions, (permutations, values); the first is the identity.
    """
    size = np.linalg.norm(a) * np.linalg.norm(b)
    if size == 0:
        return float("nan"), float("nan")
    found = b[orders] @ a / size
    # Rounding must not make an equal pairing look less extreme.
    return float(found[0]), float((np.abs(found) >= abs(found[0]) - 1e-9).mean())
