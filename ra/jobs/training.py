"""One training job, whatever is trained: folder, device, processes, MLflow run, files."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ra.data.dataset import DatasetInfo
from ra.files import alone, write_csv, write_json
from ra.jobs.record import log_dataset, start_run
from ra.models.checkpoints import save_model
from ra.registry import PLUGINS
from ra.runtime.devices import placed, use_device
from ra.runtime.distributed import is_leader, join
from ra.settings.shared import Schedule, TrainingRuntime
from ra.tracking.run import Run
from ra.training.loop import train
from ra.training.objectives import Objective


@dataclass
class Training:
    """What is trained, on what.

    Attributes:
        kind: of the run: "train" or "train-recognizer".
        name: for people: "RA sr 0.001 resnet18 seed0".
        objective: holds the networks; the files are named after its ``modules``.
        identity: what tells this training from others; stands in the header of the models.
        settings: what else defines the numbers; compared when the training resumes.
        fixed: networks that are used but not trained.
        dataset: for the record of the run; None records nothing.
        after: called before the files are written; returns what else their headers say.
        done: called when the files are written.
        ready: the networks are trained already and are only stored.
    """

    kind: str
    name: str
    objective: Objective
    crops: Any
    identity: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    fixed: tuple[nn.Module | None, ...] = ()
    dataset: DatasetInfo | None = None
    after: Callable[[torch.device, Run], dict[str, Any]] = lambda where, run: {}
    done: Callable[[Run], None] = lambda run: None
    ready: bool = False


def run_training(
    job: Training, schedule: Schedule, runtime: TrainingRuntime, save_dir: Path
) -> None:
    """Train; write the networks, training.csv and run.json into ``save_dir``.

    A training that was interrupted goes on at its last state. The state is removed last of all, so
    that a kill while the results are written or recorded costs no training.
    """
    fixed = {"seed": runtime.seed, "precision": runtime.precision, "name": job.name}
    settings = {**schedule.model_dump(), **fixed, **job.identity, **job.settings}
    if PLUGINS:
        settings["plugins"] = sorted(set(PLUGINS.values()))
    state = save_dir / "state.pt"  # not an output: Snakemake would delete it when a job fails
    with alone(save_dir) if is_leader() else nullcontext():
        known = run_id_in(save_dir) if state.exists() else None
        with (
            join() as team,
            use_device(runtime, team) as where,
            start_run(job.kind, settings, where, run_id=known) as run,
        ):
            if job.dataset:
                log_dataset(run, job.dataset, "training")
            for network in filter(None, job.fixed):
                placed(network, where)
            history: list[dict[str, float]] = []
            if not job.ready:
                if team.leader:
                    write_json(save_dir / "run.json", {"run_id": run.run_id})
                begin = time.perf_counter()
                how = (schedule, runtime, where, state, settings, run.log_metrics, team)
                history = train(job.objective, job.crops, *how)
                run.log_metrics({"train_s": time.perf_counter() - begin}, step=len(history))
            if team.leader:
                header = {**job.identity, **job.after(where, run), "settings": settings}
                _save(save_dir, job.objective.modules, header, history, run)
                job.done(run)
        if is_leader():
            state.unlink(missing_ok=True)


def _save(save_dir: Path, modules: dict[str, nn.Module], header, history, run: Run) -> None:
    """Write each network and training.csv, and hand them to MLflow."""
    for kind, module in modules.items():
        path = save_dir / f"{kind}.safetensors"
        save_model(path, module, {"kind": kind, **header})
        run.log_artifact(path, "checkpoints")
    columns = None if history else ["epoch"]
    write_csv(save_dir / "training.csv", pd.DataFrame(history, columns=columns))
    run.log_artifact(save_dir / "training.csv")


def run_id_in(folder: Path) -> str | None:
    """The MLflow run of the training whose models are in ``folder``."""
    note = folder / "run.json"
    return json.loads(note.read_text())["run_id"] if note.exists() else None
