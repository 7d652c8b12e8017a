"""`ra train` and `ra import-checkpoint`."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ra.data.batches import validation_keys
from ra.data.degradations import TASKS, build_task, inputs_of
from ra.data.splits import Crops, open_split, scaled
from ra.errors import UserError
from ra.jobs.evaluate import evaluate_processor
from ra.jobs.record import run_name
from ra.jobs.training import Training, run_training
from ra.models.checkpoints import save_model
from ra.models.fixed import thaw, training_recognizer
from ra.models.processors import build_processor
from ra.models.released import import_checkpoint
from ra.models.restorers import start_processor
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import CLEAN, p_model_title
from ra.reporting.plots import write_strip
from ra.settings.commands import Evaluate, ImportCheckpoint, Train
from ra.settings.shared import PAPER_RECOGNIZERS, Runtime
from ra.training.objectives import OBJECTIVES, Published, canonical_mode, check_labels


def train_processor(o: Train) -> None:
    """Train a processor (and a transformer where the objective needs one)."""
    if o.cross_evaluate:
        same = {key: getattr(o, key) for key in Evaluate.model_fields.keys() & o.model_fields_set}
        same["runtime"] = {key: getattr(o.runtime, key) for key in Runtime.model_fields}
        return evaluate_processor(Evaluate(**same, recognizers=PAPER_RECOGNIZERS))
    if o.save_dir is None:
        raise UserError("--save-dir: needed; the folder for the models")
    objective, weight = canonical_mode(o.mode, o.weight)
    kind = OBJECTIVES.get(objective)
    own = OBJECTIVES.check(objective, o.objective_settings, "--")
    task_settings = TASKS.check(o.task, o.task_settings, "--")
    task = build_task(o.task, **task_settings)
    inputs = inputs_of(task)
    if inputs == "":
        raise UserError("--input: needed to train; the folder of the inputs")
    split = open_split(**dict(o.source), split="train", inputs=inputs)
    task = scaled(task, split.info)
    task_settings |= {"factor": task.scale} if inputs else {}
    crop = split.info.crop
    if crop % task.scale:
        raise UserError(f"crop: {crop} px is not divisible by the sr factor {task.scale}")
    needed = kind.needs_recognizer
    check_labels(objective, split.info.classes, split.info.root)
    fixed = training_recognizer(o.arch, o.recognizer, split.info) if needed else None
    torch.manual_seed(o.runtime.seed)
    as_it_is = kind is Published
    begin = (o.sr_arch, task.scale, o.processor_settings, o.init, not as_it_is)
    networks: dict[str, Any] = {"processor": start_processor(*begin)}
    origin = networks["processor"].origin
    if as_it_is:
        if not origin:
            raise UserError("--mode published: trains nothing; give --sr-arch spandrel:FILE")
        objective += ":" + re.sub(r"[^\w.+-]", "-", Path(origin["file"]).stem)
        used = networks["processor"]
    elif kind.trains_recognizer:
        used = None
        thaw(fixed, o.arch)
    else:
        used = fixed
    if kind.needs_transformer:
        networks["transformer"] = build_processor(o.transformer_arch, 1, **o.transformer_settings)
    identity = {
        "dataset": split.info.name,
        "task": o.task,
        "objective": objective,
        "lambda": weight,
        "recognizer": o.arch if needed else NO_RECOGNIZER,
        "seed": o.runtime.seed,
        "task_settings": task_settings,
        **({"init": origin} if origin else {}),
    }

    def picture(where, run) -> dict[str, Any]:
        crops = Crops(open_split(**dict(o.source), split="val", inputs=inputs), task)
        rows = _sample(networks["processor"], crops, where)
        titles = ("Input", p_model_title(objective), p_model_title(CLEAN))
        write_strip(o.save_dir / "sample.png", dict(zip(titles, rows, strict=True)))
        run.log_artifact(o.save_dir / "sample.png")
        # What a recognizer's own file has to say.
        return (
            {"arch": o.arch, "classes": list(split.info.classes)} if kind.trains_recognizer else {}
        )

    job = Training(
        kind="train",
        name=run_name(o.task, objective, weight, identity["recognizer"], o.runtime.seed),
        objective=kind(recognizer=fixed, weight=weight, **networks, **own),
        crops=Crops(split, task),
        identity=identity,
        settings={"data_digest": split.info.digest, **own}
        | {name: network.header for name, network in networks.items()},
        fixed=(used,),
        dataset=split.info,
        after=picture,
        done=lambda run: _register(o.save_dir, networks, identity, run),
        ready=as_it_is,
    )
    run_training(job, o.schedule, o.runtime, o.save_dir)


@torch.inference_mode()
def _sample(processor: nn.Module, crops: Crops, where: torch.device, count: int = 6):
    """(input, output, target) of ``count`` validation images, spread over the split."""
    chosen = validation_keys(len(crops), 1)[:: max(1, len(crops) // count)][:count]
    batch = crops.__getitems__([key for keys in chosen for key in keys]).to(where)
    return batch.input.cpu(), processor.eval()(batch.input).cpu(), batch.target.cpu()


def _register(save_dir: Path, networks, identity: dict[str, Any], run) -> None:
    """The networks in the model registry; another seed or a repetition is another version."""
    task, objective = identity["task"], identity["objective"]
    name = f"{identity['dataset']}-{task}-{objective}-l{identity['lambda']:g}"
    if identity["recognizer"] != NO_RECOGNIZER:
        name += f"-{identity['recognizer']}"
    run.log_model(
        re.sub(r"[/:]", "-", name),  # the two characters a registry does not take
        [save_dir / f"{kind}.safetensors" for kind in networks],
        f"processor for {task}, objective {objective}; uint8 images (N, h, w, 3) in and out",
        identity,
    )


def import_released(o: ImportCheckpoint) -> None:
    """Store a released processor (or transformer) as safetensors.

    The released files do not say how they were trained: task, objective, lambda and training
    recognizer are the user's word.
    """
    objective, weight = canonical_mode(o.mode, o.weight)
    module: Any = import_checkpoint(o.file)
    kind = "transformer" if module.header["arch"] == "pix2pix" else "processor"
    used = OBJECTIVES.get(objective).needs_recognizer
    header = {
        "kind": kind,
        "dataset": "imagenet",
        "task": o.task,
        "task_settings": TASKS.check(o.task, {}),
        "objective": objective,
        "lambda": weight,
        "recognizer": o.arch if used else NO_RECOGNIZER,
        "imported": o.file.name,
    }
    save_model(o.save_dir / f"{kind}.safetensors", module, header)
