"""How often intervals cover the truth and tests reject a true null, by simulation.

    python tools/coverage.py [ROUNDS]

Prints the table of docs/statistics.md; every row should be near 95 % or 5 %. The tests run the
same functions with fewer rounds.
"""

from __future__ import annotations

import sys
from itertools import permutations

import numpy as np
import pandas as pd

from ra.analysis.boundaries.transfer import relabelled
from ra.evaluation.average_precision import _class_precision
from ra.evaluation.statistics import (
    compare,
    compare_clusters,
    jackknife,
    leave_out,
    permuted_correlation,
)


def paired(rounds: int, shares: tuple[float, float] = (0.02, 0.01), n: int = 400) -> float:
    """Coverage of the interval of a difference; ``shares``: images that one alone gets right."""
    truth = 100 * (shares[0] - shares[1])
    draws = np.random.default_rng(0).multinomial(n, [*shares, 1 - sum(shares)], size=rounds)
    covered = []
    for ours, theirs, both in draws:
        found = compare(
            [1] * ours + [0] * theirs + [1] * both, [0] * ours + [1] * theirs + [1] * both
        )
        covered.append(found["low"] <= truth <= found["high"])
    return float(np.mean(covered))


def clusters(rounds: int, count: int = 15, size: int = 40, spread: float = 0.12) -> list[float]:
    """Rejections of a true null over clusters, and over images: the gain varies by cluster."""
    draw, rejected = np.random.default_rng(0), []
    cluster = np.repeat(np.arange(count), size)
    for _ in range(rounds):
        gain = draw.normal(0, spread, (count, 1))
        theirs = (draw.random((count, size)) < 0.5).ravel()
        ours = (draw.random((count, size)) < 0.5 + gain).ravel()
        tests = compare_clusters(ours, theirs, cluster), compare(ours, theirs)
        rejected.append([test["p"] < 0.05 for test in tests])
    return np.mean(rejected, axis=0).tolist()


def _detections(draw, count: int):
    """Of one class: images of detections by falling score, right or wrong, objects an image."""
    objects = draw.poisson(0.8, count)
    ease = draw.normal(0, 0.5, count)
    hits = draw.binomial(objects, 1 / (1 + np.exp(-1 - ease)))
    wrong = draw.poisson(0.6, count)
    image = np.repeat(np.arange(count), hits + wrong)
    right = np.concatenate([[1] * h + [0] * w for h, w in zip(hits, wrong, strict=True)])
    score = draw.normal(right * (1.5 + ease[image]), 1)
    order = score.argsort()[::-1]
    return image[order], right[order], objects


def average_precision(rounds: int, count: int = 60) -> tuple[float, float, float]:
    """Coverage of the interval of average precision, and how often it lies above and below."""
    draw = np.random.default_rng(0)
    wanted = _class_precision(*_detections(draw, 20_000), np.ones((1, 20_000)))[0]
    weights = np.stack([np.bincount(s, minlength=count) for s in leave_out(count)])
    found = [jackknife(_class_precision(*_detections(draw, count), weights)) for _ in range(rounds)]
    low, high = (np.array([one[end] for one in found]) for end in ("low", "high"))
    above, below = (low > wanted).mean(), (high < wanted).mean()
    return 1 - above - below, above, below


def boundaries(rounds: int, names: str = "abcde") -> list[float]:
    """Rejections of a true null by permuting recognizers, and by permuting pairs.

    Every recognizer has a similarity and a gain of its own to all others.
    """
    pairs = list(permutations(names, 2))
    table = pd.DataFrame(pairs, columns=["training_r", "evaluation_r"])
    table = table.assign(task="sr", p_model="ra", **{"lambda": 0.001})
    draw = np.random.default_rng(0)
    of_pairs = np.stack(
        [np.arange(len(pairs)), *(draw.permutation(len(pairs)) for _ in range(119))]
    )
    first, second = np.array([[names.index(r) for r in pair] for pair in pairs]).T
    orders, rejected = relabelled(table, 200), []
    for _ in range(rounds):
        values = draw.standard_normal((2, 5))[:, first] + draw.standard_normal((2, 5))[:, second]
        values += draw.standard_normal(values.shape) / 2
        centred = values - values.mean(axis=1, keepdims=True)
        rejected.append([permuted_correlation(*centred, o)[1] <= 0.05 for o in (orders, of_pairs)])
    return np.mean(rejected, axis=0).tolist()


def main(rounds: int) -> None:
    """Print the table."""
    over_clusters, over_images = clusters(rounds)
    covered, above, below = average_precision(rounds)
    by_recognizer, by_pair = boundaries(rounds)
    rows = [
        ("difference of two accuracies, 400 images", "covers", paired(rounds)),
        ("the same, 60 images", "covers", paired(rounds, (0.15, 0.1), 60)),
        ("average precision, 60 images", "covers", covered),
        ("average precision, 60 images", "lies above the truth", above),
        ("average precision, 60 images", "lies below the truth", below),
        ("gain that varies by folder, test over folders", "rejects a true null", over_clusters),
        ("gain that varies by folder, test over images", "rejects a true null", over_images),
        ("boundaries, recognizers permuted", "rejects a true null", by_recognizer),
        ("boundaries, pairs permuted (not used)", "rejects a true null", by_pair),
    ]
    print("| what | how often it | % |\n|:--|:--|--:|")
    for what, event, share in rows:
        print(f"| {what} | {event} | {100 * share:.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
