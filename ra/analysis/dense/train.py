"""`ra train-detector` and `ra train-through-detector`."""

from __future__ import annotations

from typing import Any

import torch

from ra.analysis import command_settings as commands
from ra.analysis.dense.detector import (
    DetectionAware,
    DetectorTraining,
    build_detector,
    load_detector,
)
from ra.analysis.dense.voc import DetectionCrops, VocImages
from ra.data.degradations import TASKS, build_task
from ra.errors import UserError
from ra.jobs.record import run_name
from ra.jobs.training import Training, run_training
from ra.models.restorers import start_processor
from ra.registry import NO_RECOGNIZER
from ra.training.objectives import Plain, canonical_mode


def train_detector(o: commands.TrainDetector) -> None:
    """Train a detector on clean images."""
    images = VocImages(o.data, o.sets, o.side)
    torch.manual_seed(o.runtime.seed)
    detector = build_detector(o.arch, images.classes, o.side, o.weights)
    identity = {"arch": o.arch, "dataset": o.name, "data_digest": images.digest}
    job = Training(
        kind="train-recognizer",
        name=f"detector {o.arch}",
        objective=DetectorTraining(detector),
        crops=DetectionCrops(images, None),
        identity={**identity, "weights": o.weights},
    )
    run_training(job, o.schedule, o.runtime, o.save_dir)


def train_through_detector(o: commands.TrainThroughDetector) -> None:
    """Train a processor on the detector's own images: with its losses, or plain for comparison."""
    mode, weight = canonical_mode(o.mode, o.weight)
    if mode not in ("plain", "ra"):
        raise UserError(f"--mode: a detector trains processors plain or ra, not {o.mode}")
    detector = load_detector(o.detector)
    known, stored = detector.header, detector.stored
    images = VocImages(o.data, o.sets, known["side"], known["classes"])
    task_settings = TASKS.check(o.task, o.task_settings, "--")
    task = build_task(o.task, **task_settings)
    if known["side"] % task.scale:
        raise UserError(f"--side: {known['side']} px is not divisible by the factor {task.scale}")
    torch.manual_seed(o.runtime.seed)
    processor: Any = start_processor(o.sr_arch, task.scale, o.processor_settings, o.init)
    kind, trained_by = DetectionAware, f"detector-{known['arch']}"
    if mode == "plain":
        kind, trained_by = Plain, NO_RECOGNIZER
    identity = {
        "dataset": stored["dataset"],
        "task": o.task,
        "objective": mode,
        "lambda": weight,
        "recognizer": trained_by,
        "seed": o.runtime.seed,
        "task_settings": task_settings,
        **({"init": processor.origin} if processor.origin else {}),
    }
    job = Training(
        kind="train",
        name=run_name(o.task, mode, weight, trained_by, o.runtime.seed),
        objective=kind(processor, detector, weight),
        crops=DetectionCrops(images, task),
        identity=identity,
        settings={"data_digest": images.digest, "processor": processor.header},
        fixed=(detector,),
    )
    run_training(job, o.schedule, o.runtime, o.save_dir)
