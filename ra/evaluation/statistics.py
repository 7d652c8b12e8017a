"""Is A better than B? Paired answers on the same images: difference, 95 % interval, p.

Sources: McNemar, Psychometrika 1947 (the exact, binomial form); Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13 (percentile interval); Holm, Scand. J. Stat. 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, ttest_1samp

DRAWS = 10_000  # of the bootstrap


def mcnemar(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Two-sided exact p that two recognisers of the same images err equally often.

    Args:
        ours, theirs: hits (0 or 1) of the same images, in the same order.

    >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    0.0625
    """
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


def compare(ours: Sequence[int], theirs: Sequence[int], seed: int = 0) -> dict[str, float]:
    """Difference of two accuracies (percentage points), its 95 % bootstrap interval, p and n.

    The bootstrap draws images, so both answers to an image stay together. Only the numbers of
    images that one of the two alone gets right matter, and those are multinomial: no image has
    to be drawn.
    """
    only_ours, only_theirs = _discordant(ours, theirs)
    n = len(ours)
    shares = np.array([only_ours, only_theirs, n - only_ours - only_theirs]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=DRAWS)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    difference = (only_ours - only_theirs) / n
    values = {"difference": difference, "low": low, "high": high}
    scaled = {name: 100 * float(value) for name, value in values.items()}
    return {**scaled, "p": mcnemar(ours, theirs), "n": n}


def over_seeds(differences: Sequence[float]) -> dict[str, float]:
    """Mean over two or more seeds, its 95 % t interval, and p of a one-sample t test.

    Seeds that agree to the last digit have no spread: interval and p are NaN.
    """
    mean = float(np.mean(differences))
    if not np.ptp(differences):
        return {"difference": mean, "low": np.nan, "high": np.nan, "p": np.nan}
    test = ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(0.95)
    return {"difference": mean, "low": float(low), "high": float(high), "p": float(test.pvalue)}


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p: below 0.05, so with 95 % certainty no row of the family errs.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted
