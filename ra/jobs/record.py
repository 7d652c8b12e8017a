"""The MLflow run of a job: which of its settings are parameters and which are tags."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from ra.data.dataset import DatasetInfo
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import NO_TASK, UNTRAINED, p_model_title, recognizer_title, task_title
from ra.runtime.distributed import is_leader
from ra.tracking import run as tracking

TAGS = ("dataset", "task", "objective", "lambda", "recognizer", "arch")
ONLY_STEP = ("lr_steps", "lr_gamma")  # parameters of no other schedule


def start_run(kind: str, settings: Mapping[str, Any], where: torch.device, **more: Any):
    """The run of this job, to be used in a ``with`` statement; ``settings`` name it.

    Of several processes that share a training only the leader records. ``more`` may hold
    ``run_id`` (continue this run) and ``parent_run_id`` (nest it below that one).
    """
    if not is_leader():
        return tracking.Run(None, None, "")
    device = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"
    params = {**settings, "device": device, "threads": torch.get_num_threads()}
    if params.get("lr_schedule") != "step":
        params = {key: value for key, value in params.items() if key not in ONLY_STEP}
    tags = {key: str(settings[key]) for key in TAGS if key in settings}
    return tracking.start_run(
        name=params.pop("name"),
        kind=kind,
        params=_flat(params),
        tags={**tags, "mlflow.note.content": _about(kind, settings)},
        experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME", "ra"),
        **more,
    )


def _about(kind: str, settings: Mapping[str, Any]) -> str:
    """The description of a run, for people."""
    if "task" not in settings:
        return f"Training of {recognizer_title(settings['arch'])} on {settings['dataset']}"
    task, trained = settings["task"], settings["recognizer"]
    parts = [] if task == NO_TASK else [task_title(task)]
    parts.append(p_model_title(settings["objective"]))
    if trained != NO_RECOGNIZER:
        parts.append(f"lambda {settings['lambda']:g}")
        parts.append(f"training recognizer {recognizer_title(trained)}")
    parts += [f"data {settings['dataset']}", f"seed {settings['seed']}"]
    return f"{'Evaluation' if kind == 'evaluate' else 'Training'}: {', '.join(parts)}"


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
    """A name for people that leads with what differs: ``RA sr 0.001 resnet18 seed0``.

    Lambda and training recognizer are left out where there is none.
    """
    title = p_model_title(objective)
    words = [title if objective in UNTRAINED else title.removesuffix(" Processing")]
    words += [task] if task != NO_TASK else []
    words += [f"{weight:g}", arch] if arch != NO_RECOGNIZER else []
    return " ".join([*words, f"seed{seed}"])
