"""mAP against hand-made cases, against torchmetrics, and its bootstrap."""

import numpy as np
import pytest
import torch
from torchmetrics.detection import MeanAveragePrecision

from ra.evaluation.average_precision import coco_map, voc_map
from ra.evaluation.statistics import jackknife, leave_out, resamples

BOX, FAR = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]


def real(*boxes, labels=None, difficult=None):
    count = len(boxes)
    return {
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * count, dtype=torch.long),
        "difficult": torch.tensor(difficult or [False] * count, dtype=torch.bool),
    }


def seen(*boxes, scores, labels=None):
    found = real(*boxes, labels=labels)
    return {"boxes": found["boxes"], "labels": found["labels"], "scores": torch.tensor(scores)}


def everything(count: int) -> list[np.ndarray]:
    return [np.arange(count)]


def precision(found, truth) -> float:
    return voc_map(found, truth, everything(len(truth)))[0]


def test_a_perfect_detector_has_100():
    truth = [real(BOX, FAR), real(BOX, labels=[2])]
    found = [seen(BOX, FAR, scores=[0.9, 0.8]), seen(BOX, scores=[0.7], labels=[2])]
    assert precision(found, truth) == 100
    assert coco_map(found, truth, everything(2))[0] == pytest.approx(100)


def test_an_object_counts_once():
    twice = [seen(BOX, BOX, scores=[0.9, 0.8])]
    assert precision(twice, [real(BOX)]) == 100, "the wrong one comes last"
    first_wrong = [seen(FAR, BOX, scores=[0.9, 0.8])]
    assert precision(first_wrong, [real(BOX)]) == 50
    assert precision(twice, [real(BOX, FAR)]) == 50


def test_half_an_overlap_is_enough():
    half, less = [0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 4.9]
    assert precision([seen(half, scores=[0.9])], [real(BOX)]) == 100
    assert precision([seen(less, scores=[0.9])], [real(BOX)]) == 0


def test_difficult_objects_are_neither_wanted_nor_wrong():
    truth = [real(BOX, FAR, difficult=[False, True])]
    assert precision([seen(BOX, scores=[0.9])], truth) == 100
    assert precision([seen(FAR, FAR, BOX, scores=[0.9, 0.8, 0.7])], truth) == 100
    assert coco_map([seen(FAR, BOX, scores=[0.9, 0.7])], truth, everything(1))[0] == pytest.approx(
        100
    )


def test_a_class_that_is_only_difficult_is_left_out():
    truth = [real(BOX, FAR, labels=[1, 2], difficult=[False, True])]
    assert precision([seen(BOX, scores=[0.9])], truth) == 100


def test_without_any_object_to_be_found_map_is_not_a_number():
    truth, found = [real(BOX, difficult=[True])], [seen(BOX, scores=[0.9])]
    assert np.isnan(precision(found, truth))
    assert np.isnan(coco_map(found, truth, everything(1))).all()


def test_images_without_objects_or_detections():
    empty = real()
    none = seen(scores=[])
    assert precision([none, none], [real(BOX), empty]) == 0
    with_false = [seen(BOX, scores=[0.5]), seen(BOX, scores=[0.9])]
    assert precision(with_false, [real(BOX), empty]) == 50
    assert coco_map([none, none], [real(BOX), empty], leave_out(2)).tolist() == [0] * 3


@pytest.fixture(scope="module")
def scenes():
    """Noisy detections of 20 images with three classes."""
    torch.manual_seed(0)
    truth, found = [], []
    for _ in range(20):
        count = int(torch.randint(1, 4, ()))
        corner = torch.rand(count, 2) * 50
        boxes = torch.cat([corner, corner + 10 + 30 * torch.rand(count, 2)], dim=1)
        labels = torch.randint(1, 4, (count,))
        truth.append({"boxes": boxes, "labels": labels, "difficult": torch.zeros(count).bool()})
        noisy = torch.cat([boxes + 3 * torch.randn(count, 4), torch.rand(2, 4) * 20 + FAR[0]])
        noisy[-2:, 2:] += 15
        many = torch.cat([labels, torch.randint(1, 4, (2,))])
        found.append({"boxes": noisy, "labels": many, "scores": torch.rand(count + 2)})
    return found, truth


def test_coco_map_is_that_of_torchmetrics(scenes):
    """Given COCO's own thresholds: the ones torchmetrics makes are rounded to float32."""
    found, truth = scenes
    ious, recalls = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0, 1, 101).tolist()
    metric = MeanAveragePrecision(iou_thresholds=ious, rec_thresholds=recalls)
    metric.update(found, truth)
    ours = coco_map(found, truth, everything(20))[0]
    assert ours == pytest.approx(100 * float(metric.compute()["map"]), abs=1e-4)
    assert 10 < ours < 90


def test_voc_map_is_near_cocos_at_half_an_overlap(scenes):
    """COCO reads the curve at 101 points, VOC integrates it."""
    found, truth = scenes
    metric = MeanAveragePrecision(iou_thresholds=[0.5])
    metric.update(found, truth)
    assert precision(found, truth) == pytest.approx(100 * float(metric.compute()["map"]), abs=3)


@pytest.mark.parametrize("measure", [voc_map, coco_map])
def test_a_sample_is_the_map_of_its_images(scenes, measure):
    found, truth = scenes
    samples = [resamples(20, 1, seed=1)[1], leave_out(20, groups=3)[1]]
    for drawn, value in zip(samples, measure(found, truth, samples), strict=True):
        part = [found[i] for i in drawn], [truth[i] for i in drawn]
        assert value == pytest.approx(measure(*part, everything(len(drawn)))[0], abs=1e-6)
        assert value != measure(found, truth, everything(20))[0]


def test_a_difference_is_paired(scenes):
    found, truth = scenes
    better = [{**one, "scores": one["scores"].clone()} for one in found]
    for one in better:
        one["scores"][-2:] = 0  # its false detections come last
    ours, theirs = (voc_map(one, truth, leave_out(20)) for one in (better, found))
    gain = jackknife(ours - theirs)
    assert gain["value"] == pytest.approx(ours[0] - theirs[0])
    assert 0 < gain["low"] < gain["value"] < gain["high"] and gain["p"] < 0.05
    assert gain["high"] - gain["low"] < np.hypot(*(np.ptp(interval(v)) for v in (ours, theirs)))


def interval(values) -> list[float]:
    return [jackknife(values)[end] for end in ("low", "high")]
