"""Metrics of a whole data set that are no mean over its images: mAP and mIoU.

So that they have intervals and paired tests as means have, each image gets a number
(``ra.evaluation.statistics.contributions``).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ra.errors import UserError
from ra.evaluation.average_precision import coco_map, voc_map
from ra.evaluation.statistics import contributions, leave_out


def mean_iou(pixels: Sequence, samples: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over classes of intersection over union (%) of each sample of the images.

    A class that neither answers nor masks have does not count.

    Args:
        pixels: per image, pixels that answer and mask share and that either has, (2, classes).
    """
    sums = [np.asarray(pixels, dtype=float)[drawn].sum(axis=0) for drawn in samples]
    return np.array([100 * (same[both > 0] / both[both > 0]).mean() for same, both in sums])


def _precision(measure: Callable) -> Callable:
    def of_pairs(pairs: Sequence[tuple], samples: Sequence[np.ndarray]) -> np.ndarray:
        answers, truth = zip(*pairs, strict=True)
        if not any((~one["difficult"]).any() for one in truth):
            raise UserError("the images hold no object, or only difficult ones; mAP needs others")
        return measure(answers, truth, samples)

    return of_pairs


# What a recognizer's ``compare`` gives for each image -> metrics of all.
METRICS: dict[str, dict[str, Callable]] = {
    "objects": {"map50": _precision(voc_map), "map": _precision(coco_map)},
    "pixels": {"miou": mean_iou},
}


def finish(name: str, entries: Any) -> dict[str, Any]:
    """Numbers by metric, one an image, of the entries ``name`` of all images."""
    if name not in METRICS:
        return {name: entries}
    samples = leave_out(len(entries))
    return {
        metric: contributions(measure(entries, samples) / 100, len(entries))
        for metric, measure in METRICS[name].items()
    }
