"""Mean average precision of detections by the rules of VOC (mAP@0.5) and of COCO (mAP).

Both functions take samples of the images, so that intervals cost one matching of boxes.

Sources: the VOC development kit (VOCevaldet.m, area under the curve as since 2010); COCO's own code
(pycocotools).
"""

import contextlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torchvision.ops import box_iou

from ra.models.detectors import Objects


def voc_map(
    detections: Sequence[Objects],
    truth: Sequence[Objects],
    samples: Sequence[np.ndarray],
    iou: float = 0.5,
) -> np.ndarray:
    """VOC's mAP (%) of each sample of the images.

    A detection counts for the object that it overlaps most; the second one of an object is wrong;
    one whose object is difficult is neither right nor wrong, and difficult objects need not be
    found. A class without objects in a sample does not count; without any object mAP is NaN.

    Args:
        detections: per image boxes (n, 4), scores (n), labels (n).
        truth: per image boxes (m, 4), labels (m), difficult (m).
        samples: image positions, at most as many as there are images.
    """
    weights = np.stack([np.bincount(drawn, minlength=len(truth)) for drawn in samples])
    labels = torch.cat([one["labels"][~one["difficult"]] for one in truth]).unique().tolist()
    matched = (_matched(detections, truth, k, iou) for k in labels)
    found = [_class_precision(*one, weights) for one in matched]
    return 100 * _mean(np.array(found).reshape(-1, len(samples)))


def _mean(precision: np.ndarray) -> np.ndarray:
    """Means of columns, NaN left out; NaN where nothing is left."""
    known = ~np.isnan(precision)
    with np.errstate(invalid="ignore"):
        return np.where(known, precision, 0).sum(axis=0) / known.sum(axis=0)


def _matched(
    detections, truth, label: int, iou: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image, right or wrong) of one class's detections by falling score, and objects an image."""
    rows, wanted = [], np.zeros(len(truth))
    for image, (found, real) in enumerate(zip(detections, truth, strict=True)):
        mine, wanted_here = found["labels"] == label, real["labels"] == label
        boxes, difficult = real["boxes"][wanted_here], real["difficult"][wanted_here]
        wanted[image] = int((~difficult).sum())
        scores = found["scores"][mine]
        order = scores.argsort(descending=True, stable=True)
        overlap = box_iou(found["boxes"][mine][order], boxes)
        taken = set()
        for score, row in zip(scores[order].tolist(), overlap, strict=True):
            best = int(row.argmax()) if len(row) else -1
            if best < 0 or row[best] < iou:
                rows.append((score, image, 0))
            elif not difficult[best]:
                rows.append((score, image, int(best not in taken)))
                taken.add(best)
    rows.sort(key=lambda row: -row[0])
    table = np.array(rows).reshape(-1, 3)
    return table[:, 1].astype(int), table[:, 2], wanted


def _class_precision(image, right, wanted, weights) -> np.ndarray:
    """Average precision of every sample: area under the monotone precision-recall curve."""
    of_image = weights[:, image]  # (rounds, detections): how often each is in the sample
    hits = np.cumsum(of_image * right, axis=1)
    seen = np.cumsum(of_image, axis=1)
    total = weights @ wanted
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(seen > 0, hits / seen, 0.0)
        highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return np.where(total > 0, (of_image * right * highest).sum(axis=1) / total, np.nan)


def coco_map(
    detections: Sequence[Objects], truth: Sequence[Objects], samples: Sequence[np.ndarray]
) -> np.ndarray:
    """COCO's mAP (%), the mean over IoU 0.5 to 0.95, of each sample of the images.

    Difficult objects are COCO's crowds: they need not be found, and what lies on them is ignored.
    Without any other object mAP is NaN.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = sorted({label for one in truth for label in one["labels"].tolist()})
    data = {
        "images": [{"id": image} for image in range(len(truth))],
        "categories": [{"id": label} for label in labels],
        "annotations": [],
    }
    results = []
    for image, (found, real) in enumerate(zip(detections, truth, strict=True)):
        for box, label, hard in _rows(real, "boxes", "labels", "difficult"):
            number = len(data["annotations"]) + 1
            data["annotations"].append({**_coco(image, box, label), "id": number, "iscrowd": hard})
        for box, label, score in _rows(found, "boxes", "labels", "scores"):
            if label in labels:
                results.append({**_coco(image, box, label), "score": score})
    if not results:
        return np.zeros(len(samples))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        known = COCO()
        known.dataset = data
        known.createIndex()
        coco = COCOeval(known, known.loadRes(results), "bbox")
        coco.params.areaRng, coco.params.areaRngLbl = [[0, 1e10]], ["all"]
        coco.evaluate()
        per_image = np.array(coco.evalImgs, dtype=object).reshape(len(labels), len(truth))
        values = []
        for drawn in samples:
            chosen = np.full_like(per_image, None)  # it expects as many images as it evaluated
            chosen[:, : len(drawn)] = per_image[:, drawn]
            coco.evalImgs = chosen.ravel().tolist()
            coco.accumulate()
            precision = coco.eval["precision"][:, :, :, 0, -1]
            values.append(np.where(precision > -1, precision, np.nan).ravel())
    return 100 * _mean(np.array(values).T)


def _rows(objects: Objects, *keys: str) -> Iterator[tuple]:
    return zip(*(objects[key].tolist() for key in keys), strict=True)


def _coco(image: int, box: list[float], label: int) -> dict:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": label,
        "bbox": [left, top, width, height],
        "area": width * height,
    }
