"""The MLflow run of a job: which of its settings are parameters and which are tags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ra.data.prepare import DatasetInfo
from ra.runtime.distributed import is_leader
from ra.tracking import run as tracking

TAGS = ("dataset", "task", "objective", "lambda", "recognizer", "arch")


def start_run(kind: str, settings: Mapping[str, Any], where: torch.device, **more: Any):
    """The run of this job, to be used in a ``with`` statement; ``settings`` name it.

    Of several processes that share a training only the leader records. ``more`` may hold
    ``run_id`` (continue this run) and ``parent_run_id`` (nest it below that one).
    """
    if not is_leader():
        return tracking.Run(None, None, "")
    device = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    params = {**settings, "device": device, "threads": torch.get_num_threads()}
    return tracking.start_run(
        name=params.pop("name"),
        kind=kind,
        params=_flat(params),
        tags={key: str(settings[key]) for key in TAGS if key in settings},
        experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME", "ra"),
        **more,
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a class as parameters of their own, so that runs compare: ``task.sigma``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            prefix = key.removesuffix("_settings")
            flat |= {f"{prefix}.{name}": part for name, part in value.items()}
        else:
            flat[key] = value
    return flat


def log_dataset(run: tracking.Run, info: DatasetInfo, use: str) -> None:
    """Record which images the run read; ``use`` is "training" or "validation"."""
    size = {"classes": len(info.classes), "images": info.images}
    size |= {"inputs": info.inputs} if info.inputs else {}
    run.log_dataset(info.name, info.digest, info.root, use, **size)


def run_name(task: str, objective: str, weight: float, arch: str, seed: int) -> str:
    """A name for people: ``sr ra l=0.001 resnet18 seed0``."""
    return f"{task} {objective} l={weight:g} {arch} seed{seed}"
