"""What the detection commands do: train a detector, P through it, and judge P's by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ra.analysis.dense.average_precision import coco_map, voc_map
from ra.analysis.dense.detection import (
    DetectionAware,
    DetectorTraining,
    build_detector,
    detect,
    load_detector,
)
from ra.analysis.dense.figures import write_detections
from ra.analysis.dense.voc import DetectionCrops, VocImages
from ra.data.degradations import build_task
from ra.data.splits import loader, validation_keys
from ra.errors import UserError
from ra.evaluation.statistics import bootstrap, bootstrap_difference, resamples
from ra.files import atomic
from ra.jobs.common import (
    Device,
    finish,
    given,
    run_name,
    train_tracked,
    training_job,
)
from ra.models.checkpoints import load_processor, read_header
from ra.models.processors import build_processor
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import placed
from ra.training.loop import Runtime, Schedule, settings_of
from ra.training.objectives import Plain, canonical_mode

PLAIN = "plain"
KEYS = ["task", "evaluation_r", "trained_on", "p_model", "lambda", "training_r", "seed"]


def run_train_detector(
    root: Path,
    sets: Sequence[str],
    name: str,
    side: int,
    arch: str,
    weights: str,
    schedule: Schedule,
    runtime: Runtime,
    device: Device,
    save_dir: Path,
) -> None:
    """Train a detector on clean images; write detector.safetensors and training.csv."""
    images = VocImages(root, sets, side)
    torch.manual_seed(runtime.seed)
    detector = build_detector(arch, images.classes, side, weights)
    header = {"arch": arch, "dataset": name, "data_digest": images.digest, "weights": weights}
    settings = settings_of(schedule, runtime, name=f"detector {arch}", **header)
    with training_job("train-recognizer", settings, save_dir, device) as (where, team, run):
        crops = DetectionCrops(images, None)
        place = (where, team, save_dir)
        objective = DetectorTraining(detector)
        history = train_tracked(objective, crops, schedule, runtime, place, settings, run)
        if team.leader:
            finish(save_dir, objective.modules, header, history, run)


def run_train_through_detector(
    root: Path,
    sets: Sequence[str],
    task_name: str,
    task_settings: dict[str, Any],
    mode: str,
    weight: float,
    detector_file: Path,
    processor: dict[str, Any],
    schedule: Schedule,
    runtime: Runtime,
    device: Device,
    save_dir: Path,
) -> None:
    """Train P on the detector's own images: with its losses, or plain for comparison.

    Args:
        mode: ``plain`` or ``ra``.
        detector_file: the fixed detector; also tells classes and size of the images.
        processor: ``arch`` and sizes of P; None keeps the architecture's own.
    """
    objective_name = canonical_mode(mode, weight)
    if objective_name not in (PLAIN, "ra"):
        raise UserError(f"--mode: a detector trains P's plain or ra, not {mode}")
    detector = load_detector(detector_file)
    known, stored = detector.header, detector.stored
    images = VocImages(root, sets, known["side"], known["classes"])
    task = build_task(task_name, **task_settings)
    if known["side"] % task.scale:
        raise UserError(f"--side: {known['side']} px is not divisible by the factor {task.scale}")
    torch.manual_seed(runtime.seed)
    network = build_processor(scale=task.scale, **given(processor))
    is_plain = objective_name == PLAIN
    objective = (Plain if is_plain else DetectionAware)(network, detector, weight)
    identity = {
        "dataset": stored["dataset"],
        "task": task_name,
        "objective": objective_name,
        "lambda": 0.0 if is_plain else weight,
        "recognizer": NO_RECOGNIZER if is_plain else f"detector-{known['arch']}",
    }
    settings = settings_of(
        schedule,
        runtime,
        name=run_name(*list(identity.values())[1:], runtime.seed),
        **identity,
        **task_settings,
        data_digest=images.digest,
        processor=processor,
    )
    with training_job("train", settings, save_dir, device) as (where, team, run):
        placed(detector, where)
        place = (where, team, save_dir)
        crops = DetectionCrops(images, task)
        history = train_tracked(objective, crops, schedule, runtime, place, settings, run)
        if team.leader:
            header = {**identity, "seed": runtime.seed, "task_settings": task_settings}
            finish(save_dir, objective.modules, {**header, "settings": settings}, history, run)


def run_judge_detection(
    root: Path,
    sets: Sequence[str],
    detector_file: Path,
    models: Sequence[Path],
    rounds: int,
    batch: int,
    runtime: Runtime,
    device: Device,
    save_dir: Path,
) -> None:
    """Judge P's of one task by a detector; write detection.csv and detections.png.

    Beside the P's of ``models`` there are rows for the clean images and for no processing.

    Args:
        rounds: bootstrap samples of the images, for intervals.
    """
    headers = {path: read_header(path) for path in models}
    first = headers[models[0]]
    for path, header in headers.items():
        if (header["task"], header["task_settings"]) != (first["task"], first["task_settings"]):
            raise UserError(f"{path}: trained for another task than {models[0]}; judge them apart")
    task = build_task(first["task"], **first["task_settings"])
    detector = load_detector(detector_file)
    images = VocImages(root, sets, detector.header["side"], detector.header["classes"])
    crops = DetectionCrops(images, task)
    with device.use() as where:
        processors = {"no_processing": None}
        processors |= {str(path): placed(load_processor(path), where) for path in models}
        batches = loader(crops, validation_keys(len(crops), batch), runtime.workers, where)
        found, truth = detect(detector, processors, batches, task.scale, where)
    judge = {"task": first["task"], "evaluation_r": f"detector-{detector.header['arch']}"}
    named = {name: {**judge, **_identity(name, headers.get(Path(name)))} for name in found}
    table = precision_table(found, truth, named, rounds)
    with atomic(save_dir / "detection.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_detections(save_dir / "detections.png", crops, found, named, processors, task.scale)


def _identity(name: str, header: dict[str, Any] | None) -> dict[str, Any]:
    if header is None:
        return dict.fromkeys(KEYS[2:], NO_RECOGNIZER) | {"p_model": name, "lambda": 0.0, "seed": 0}
    keys = ("dataset", "objective", "lambda", "recognizer", "seed")
    return dict(zip(KEYS[2:], (header[key] for key in keys), strict=True))


def precision_table(found, truth, named: dict[str, dict[str, Any]], rounds: int) -> pd.DataFrame:
    """Rows: KEYS, metric (map50, map), value, low, high (%), n (images); for a P with a plain one
    of the same data and seed also difference, difference_low, difference_high and p."""
    draws = resamples(len(truth), rounds, seed=0)
    rows = []
    for metric, measure in (("map50", voc_map), ("map", coco_map)):
        values = {name: measure(detections, truth, draws) for name, detections in found.items()}
        plain = {
            (who["trained_on"], who["seed"]): values[name]
            for name, who in named.items()
            if who["p_model"] == PLAIN
        }
        for name, who in named.items():
            row = {**who, "metric": metric, **bootstrap(values[name]), "n": len(truth)}
            theirs = plain.get((who["trained_on"], who["seed"]))
            if theirs is not None and who["p_model"] != PLAIN:
                row |= bootstrap_difference(values[name], theirs)
            rows.append(row)
    return pd.DataFrame(rows)
