"""Evaluates processors with a detector: mean average precision, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ra.analysis.dense.average_precision import coco_map, voc_map
from ra.analysis.dense.detection import detect, load_detector
from ra.analysis.dense.figures import write_detections
from ra.analysis.dense.voc import DetectionCrops, VocImages
from ra.analysis.outputs import shared_task
from ra.data.splits import loader, validation_keys
from ra.evaluation.statistics import jackknife, leave_out
from ra.files import atomic
from ra.models.checkpoints import load_processor
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import placed, use_device
from ra.settings.shared import Runtime

PLAIN = "plain"
KEYS = ["task", "evaluation_r", "trained_on", "p_model", "lambda", "training_r", "seed"]


def evaluate_detection(
    root: Path,
    sets: Sequence[str],
    detector_file: Path,
    models: Sequence[Path],
    batch: int,
    runtime: Runtime,
    save_dir: Path,
) -> None:
    """Evaluate processors of one task with a detector; write detection.csv and detections.png.

    There are rows for the clean images and for no processing as well.

    Args:
        batch: images at once.
    """
    headers, task = shared_task(models)
    detector = load_detector(detector_file)
    images = VocImages(root, sets, detector.header["side"], detector.header["classes"])
    crops = DetectionCrops(images, task)
    with use_device(runtime) as where:
        processors = {"no_processing": None}
        processors |= {str(path): placed(load_processor(path), where) for path in models}
        batches = loader(crops, validation_keys(len(crops), batch), runtime.workers, where)
        found, truth = detect(detector, processors, batches, task.scale, where)
    known = dict(zip(map(str, models), headers, strict=True))
    shared = {"task": headers[0]["task"], "evaluation_r": f"detector-{detector.header['arch']}"}
    named = {name: {**shared, **_identity(name, known.get(name))} for name in found}
    table = precision_table(found, truth, named)
    with atomic(save_dir / "detection.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_detections(save_dir / "detections.png", crops, found, named, processors, task.scale)


def _identity(name: str, header: dict[str, Any] | None) -> dict[str, Any]:
    if header is None:
        return dict.fromkeys(KEYS[2:], NO_RECOGNIZER) | {"p_model": name, "lambda": 0.0, "seed": 0}
    keys = ("dataset", "objective", "lambda", "recognizer", "seed")
    return dict(zip(KEYS[2:], (header[key] for key in keys), strict=True))


def precision_table(found, truth, named: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """mAP by VOC and by COCO, and the difference to the plain processor of the same data and seed.

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
