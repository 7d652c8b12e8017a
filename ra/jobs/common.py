"""What jobs share: where images and devices come from, R by file or name, runs, saved models."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ra.data.prepare import DatasetInfo
from ra.data.splits import Crops, loader, open_split, validation_keys
from ra.errors import UserError
from ra.files import alone, atomic, write_json
from ra.models.checkpoints import load_recognizer, read_header, save_model
from ra.models.names import distinct, is_own
from ra.models.recognizers import (
    Ensemble,
    Recognizer,
    check_crop,
    freeze,
)
from ra.models.user_recognizer import pretrained_recognizer
from ra.runtime.devices import use_device
from ra.runtime.distributed import ALONE, Team, is_leader, join
from ra.tracking import run as tracking
from ra.training.loop import Runtime, train
from ra.training.objectives import Objective

PAPER_WEIGHTS = "IMAGENET1K_V1"  # the weights of torchvision when the paper was written


@dataclass(frozen=True)
class Source:
    """Where images come from: a prepared data set, or a plain folder with its sizes in pixels."""

    data: Path
    resize: int | None = 256
    crop: int = 224

    def open(self, split: str):
        return open_split(self.data, split, self.resize, self.crop)


@dataclass(frozen=True)
class Device:
    """``--device``, ``--threads`` and ``--jobs-per-gpu`` of a job."""

    name: str = "auto"
    threads: int = 0
    jobs_per_gpu: int = 1

    def use(self, team: Team = ALONE):
        return use_device(self.name, self.threads, self.jobs_per_gpu, team)


def validation_batches(crops: Crops, runtime: Runtime, where: torch.device):
    return loader(crops, validation_keys(len(crops)), runtime.workers, where)


def log_dataset(run, info: DatasetInfo, use: str) -> None:
    run.log_dataset(
        info.name, info.digest, info.root, use, classes=len(info.classes), images=info.images
    )


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` without those that are None."""
    return {key: value for key, value in settings.items() if value is not None}


def training_ensemble(arch: str, files: Sequence[Path], info: DatasetInfo) -> nn.Module:
    """The fixed R, or the ensemble of those whose names ``arch`` joins with +."""
    names = arch.split("+") if len(files) != 1 else [arch]
    if files and len(files) != len(names):
        raise UserError(f"--recognizer: {len(files)} files for {len(names)} R's in --arch {arch}")
    paths = files or [None] * len(names)
    members = [training_recognizer(*one, info) for one in zip(names, paths, strict=True)]
    return members[0] if len(members) == 1 else freeze(Ensemble(members))


def training_recognizer(arch: str, path: Path | None, info: DatasetInfo) -> nn.Module:
    """The fixed R: a stored one, or a pretrained one by name or YAML file."""
    if path is None or is_own(path):
        name = arch if path is None else str(path)
        recognizer = pretrained_recognizer(name, list(info.classes), PAPER_WEIGHTS)
    else:
        name, recognizer = str(path), stored_recognizer(path, info)
    check_crop(recognizer, name, info.crop)
    return freeze(recognizer)


def stored_recognizer(path: Path, info: DatasetInfo) -> Recognizer:
    """R from ``path``, if it knows the classes of the data."""
    header = read_header(path, "recognizer")
    if header["classes"] != list(info.classes):
        raise UserError(
            f"{path}: knows {len(header['classes'])} classes, which are not the "
            f"{len(info.classes)} of {info.root}; train or import R on this data"
        )
    return load_recognizer(path)


@contextmanager
def held(save_dir: Path) -> Iterator[None]:
    """A training's folder, held by the leader for its team.

    The resume state goes last of all: a kill while MLflow is being told costs no training.
    """
    if not is_leader():
        yield
        return
    with alone(save_dir):
        yield
        _state(save_dir).unlink(missing_ok=True)


def tracked(kind: str, settings: dict[str, Any], save_dir: Path, where: torch.device, **more):
    """The MLflow run of a job; a training that resumes continues its run."""
    if not is_leader():
        return tracking.Run(None, None, "")
    resumed = run_id_in(save_dir) if _state(save_dir).exists() else None
    shown = ("dataset", "task", "objective", "lambda", "recognizer", "arch")
    return tracking.start_run(
        name=settings["name"],
        kind=kind,
        params={k: v for k, v in settings.items() if k != "name"}
        | {"device": _device_name(where), "threads": torch.get_num_threads()},
        tags={key: str(settings[key]) for key in shown if key in settings},
        experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME", "ra"),
        run_id=resumed,
        **more,
    )


@contextmanager
def training_job(kind: str, settings: dict[str, Any], save_dir: Path, device: Device):
    """Hold the folder, device, team and run of a training; yields (device, team, run)."""
    with (
        held(save_dir),
        join() as team,
        device.use(team) as where,
        tracked(kind, settings, save_dir, where) as run,
    ):
        yield where, team, run


def run_id_in(folder: Path) -> str | None:
    """The MLflow run of the training whose models are in ``folder``."""
    note = folder / "run.json"
    return json.loads(note.read_text())["run_id"] if note.exists() else None


def _device_name(where: torch.device) -> str:
    return torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu"


def _state(save_dir: Path) -> Path:
    """Resume state; not an output, so Snakemake does not delete it when a job fails."""
    return save_dir / "state.pt"


def train_tracked(objective: Objective, crops, schedule, runtime, place, settings, run):
    where, team, save_dir = place
    if team.leader:
        write_json(save_dir / "run.json", {"run_id": run.run_id})
    begin = time.perf_counter()
    state, log = _state(save_dir), run.log_metrics
    history = train(objective, crops, schedule, runtime, where, state, settings, log, team)
    run.log_metrics({"train_s": time.perf_counter() - begin}, step=len(history))
    return history


def finish(save_dir, modules: dict[str, nn.Module], header, history, run) -> None:
    """Write models and history, hand them to MLflow."""
    for kind, module in modules.items():
        path = save_dir / f"{kind}.safetensors"
        save_model(path, module, {"kind": kind, **header})
        run.log_artifact(path, "checkpoints")
    columns = None if history else ["epoch"]
    with atomic(save_dir / "training.csv") as temporary:
        pd.DataFrame(history, columns=columns).to_csv(temporary, index=False)
    run.log_artifact(save_dir / "training.csv")


def named_recognizers(names: Sequence[str], info: DatasetInfo) -> dict[str, nn.Module]:
    """Recognizers by their short names; UserError where two have one name."""
    made = [(*judge(name, info), name) for name in names]
    distinct((short, name) for short, _, name in made)
    return {short: recognizer for short, recognizer, _ in made}


def judge(name: str, info: DatasetInfo) -> tuple[str, nn.Module]:
    """(name, R) of a recognizer.safetensors, a user's YAML file or a pretrained classifier."""
    path = Path(name)
    if is_own(path):
        return path.stem, training_recognizer(name, path, info)
    stored = path if path.suffix == ".safetensors" else None
    arch = read_header(stored, "recognizer")["arch"] if stored else name
    return arch, training_recognizer(arch, stored, info)


def run_name(task: str, objective: str, weight: float, arch: str, seed: int) -> str:
    """A name a person can read: ``sr ra l=0.001 resnet18 seed0``."""
    return f"{task} {objective} l={weight:g} {arch} seed{seed}"
