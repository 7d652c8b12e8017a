"""``ra evaluate-detection``: mean average precision of a detector on the output of processors."""

from __future__ import annotations

from typing import Any

import pandas as pd
from torch import nn

from ra.analysis.command_settings import EvaluateDetection
from ra.analysis.dense.average_precision import coco_map, voc_map
from ra.analysis.dense.boxes import write_boxes
from ra.analysis.dense.detector import Objects, detect, load_detector
from ra.analysis.dense.table import title_of
from ra.analysis.dense.voc import DetectionCrops, VocImages
from ra.analysis.outputs import shared_task
from ra.data.splits import loader, validation_keys
from ra.evaluation.statistics import jackknife, leave_out
from ra.files import write_csv
from ra.models.checkpoints import load_processor
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import placed, use_device

PLAIN = "plain"
KEYS = ["task", "evaluation_r", "trained_on", "p_model", "lambda", "training_r", "seed"]


def evaluate_detection(o: EvaluateDetection) -> None:
    """Write detection.csv and detections.png.

    Beside the processors there are rows for the clean images and for no processing.
    """
    headers, task = shared_task(o.models)
    detector = load_detector(o.detector)
    images = VocImages(o.data, o.sets, detector.header["side"], detector.header["classes"])
    crops = DetectionCrops(images, task)
    with use_device(o.runtime) as where:
        processors: dict[str, nn.Module | None] = {"no_processing": None}
        processors |= {str(path): placed(load_processor(path), where) for path in o.models}
        batches = loader(crops, validation_keys(len(crops), o.batch), o.runtime.workers, where)
        found, truth, shown = detect(detector, processors, batches, task.scale, where)
    known = dict(zip(map(str, o.models), headers, strict=True))
    shared = {"task": headers[0]["task"], "evaluation_r": f"detector-{detector.header['arch']}"}
    named = {name: {**shared, **_identity(name, known.get(name))} for name in found}
    write_csv(o.save_dir / "detection.csv", precision_table(found, truth, named))
    titles = {name: title_of(identity) for name, identity in named.items()}
    write_boxes(o.save_dir / "detections.png", shown, found, truth, titles, images.classes)


def _identity(name: str, header: dict[str, Any] | None) -> dict[str, Any]:
    if header is None:
        return dict.fromkeys(KEYS[2:], NO_RECOGNIZER) | {"p_model": name, "lambda": 0.0, "seed": 0}
    keys = ("dataset", "objective", "lambda", "recognizer", "seed")
    return dict(zip(KEYS[2:], (header[key] for key in keys), strict=True))


def precision_table(
    found: dict[str, list[Objects]], truth: list[Objects], named: dict[str, dict[str, Any]]
) -> pd.DataFrame:
    """mAP by VOC and by COCO, and the difference to the plain processor of the same data and seed.

    Args:
        found: detections of every image by name of the processor.
        named: KEYS by name.

    Returns:
        Rows: KEYS, metric (map50, map), value, low, high (%), n (images); where there is a plain
        processor also difference, difference_low, difference_high and p.
    """
    samples = leave_out(len(truth))
    rows = []
    for metric, measure in (("map50", voc_map), ("map", coco_map)):
        values = {name: measure(detections, truth, samples) for name, detections in found.items()}
        plain = {
            (who["trained_on"], who["seed"]): values[name]
            for name, who in named.items()
            if who["p_model"] == PLAIN
        }
        for name, who in named.items():
            one = jackknife(values[name])
            low, high = max(one["low"], 0.0), min(one["high"], 100.0)
            row = {**who, "metric": metric, "value": one["value"], "low": low, "high": high}
            row["n"] = len(truth)
            theirs = plain.get((who["trained_on"], who["seed"]))
            if theirs is not None and who["p_model"] != PLAIN:
                gain = jackknife(values[name] - theirs)
                row |= {"difference": gain["value"], "p": gain["p"]}
                row |= {f"difference_{end}": gain[end] for end in ("low", "high")}
            rows.append(row)
    return pd.DataFrame(rows)
