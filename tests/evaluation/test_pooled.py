"""Metrics of all images together, and the numbers by image that carry their intervals."""

import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.segmentation import MeanIoU

from ra.evaluation.pooled import finish, mean_iou
from ra.evaluation.statistics import contributions, difference, jackknife, leave_out, share


@pytest.fixture
def pixels():
    """(shared, either) pixels by class of 120 images with 4 classes."""
    draw = np.random.default_rng(0)
    either = draw.integers(1, 100, (120, 4))
    return np.stack([(either * draw.uniform(0.2, 1, (120, 4))).astype(int), either], axis=1)


def test_mean_iou_is_that_of_torchmetrics():
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randint(0, 3, (5, 8, 8), generator=draw) for _ in range(2))
    metric = MeanIoU(num_classes=3, per_class=True, input_format="index")
    counts = []
    for a, b in zip(ours, theirs, strict=True):
        masks = [torch.nn.functional.one_hot(one, 3).bool() for one in (a, b)]
        both = (masks[0] & masks[1], masks[0] | masks[1])
        counts.append(torch.stack([one.sum(dim=(0, 1)) for one in both]).numpy())
    # As one image: torchmetrics averages over images, the metric of VOC does not.
    metric.update(ours.reshape(1, -1, 8), theirs.reshape(1, -1, 8))
    assert mean_iou(counts, [np.arange(5)])[0] == pytest.approx(
        100 * metric.compute().mean().item()
    )


def test_a_class_that_occurs_nowhere_does_not_count(pixels):
    wider = np.concatenate([pixels, np.zeros((120, 2, 1), int)], axis=2)
    assert mean_iou(wider, [np.arange(120)]) == mean_iou(pixels, [np.arange(120)])


def test_the_numbers_by_image_carry_metric_interval_and_p(pixels):
    values = mean_iou(pixels, leave_out(120))
    wanted = jackknife(values)
    found = share(pd.Series(finish("pixels", pixels)["miou"]), "miou")
    for key in ("value", "low", "high"):
        # 120 images make groups of two sizes, which are weighed alike.
        assert found[key] == pytest.approx(wanted[key], abs=1e-9)
    assert found["n"] == 120


def test_a_difference_is_that_of_the_samples(pixels):
    better = pixels.copy()
    better[:, 0] = np.minimum(better[:, 0] + 3, better[:, 1])
    ours, theirs = (pd.Series(finish("pixels", one)["miou"]) for one in (better, pixels))
    wanted = jackknife(mean_iou(better, leave_out(120)) - mean_iou(pixels, leave_out(120)))
    found = difference(ours, theirs, "miou")
    assert found["difference"] == pytest.approx(wanted["value"], abs=1e-9)
    assert (found["low"], found["high"]) == pytest.approx((wanted["low"], wanted["high"]), abs=1e-9)
    assert found["p"] == pytest.approx(wanted["p"], rel=1e-6) and found["p"] < 0.05


@pytest.mark.parametrize("count", [1, 2, 7, 50, 51])
def test_the_mean_over_the_groups_is_the_metric_of_all(count):
    values = np.random.default_rng(1).random(len(leave_out(count)))
    parts = contributions(values, count)
    assert parts.shape == (count,)
    assert parts[: min(50, count)].mean() == pytest.approx(values[0])


def test_other_entries_are_numbers_already():
    assert finish("top1", [0, 1]) == {"top1": [0, 1]}
