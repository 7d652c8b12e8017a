"""What one call of the ``ra`` command does, and what one node of the DAG does: nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ra.data.degradations import build_task
from ra.data.prepare import DatasetInfo, prepare
from ra.data.splits import Crops, validation_keys
from ra.errors import UserError
from ra.evaluation.evaluate import Evaluation, evaluate, summarise
from ra.files import atomic, write_json
from ra.jobs.common import (
    Device,
    Source,
    finish,
    given,
    log_dataset,
    named_recognizers,
    run_id_in,
    run_name,
    stored_recognizer,
    tracked,
    train_tracked,
    training_ensemble,
    training_job,
    validation_batches,
)
from ra.models.checkpoints import load_processor, read_header, save_model
from ra.models.processors import build_processor
from ra.models.recognizers import (
    SCRATCH,
    build_recognizer,
    check_crop,
    freeze,
)
from ra.models.released import import_checkpoint
from ra.models.user_recognizer import pretrained_recognizer
from ra.progress import Progress
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import p_model_title, recognizer_title, task_title
from ra.reporting.plots import write_heat_map, write_strip
from ra.runtime.devices import placed
from ra.training.loop import Runtime, Schedule, settings_of
from ra.training.objectives import OBJECTIVES, Classification, canonical_mode


def run_prepare(data: str, save_dir: Path, name: str | None, **options: Any) -> DatasetInfo:
    """Prepare ``embedded`` photographs, ``embedded-tune`` (only their training half, split
    again, on which settings are chosen), ``imagenette`` (downloaded), or the folder ``data``."""
    root = Path(data)
    if data == "imagenette":
        from ra.data.imagenette import fetch

        root = fetch(save_dir / "images")
    elif data in ("embedded", "embedded-tune"):
        from ra.data.embedded import write_image_folder

        root = save_dir / "images"
        split = "tune" if data.endswith("tune") else "final"
        write_image_folder(root, tile=options["resize"] or 40, split=split)
    return prepare(root, save_dir, name=name or data, **options)


def run_train_recognizer(
    source: Source,
    arch: str,
    weights: str,
    classes: Path | None,
    schedule: Schedule,
    runtime: Runtime,
    device: Device,
    save_dir: Path,
    start: Path | None = None,
    model: Path | None = None,
) -> None:
    """Train R from scratch on clean images, or store pretrained ``weights`` for these classes.

    Args:
        start: a stored R that is trained further, instead of either.
        model: P through whose outputs R learns, instead of the clean images.
    """
    split = source.open("train")
    names = list(split.info.classes)
    if start is not None:
        weights = read_header(start, "recognizer")["weights"]
    header = {"arch": arch, "classes": names, "weights": weights}
    header |= {"dataset": split.info.name, "data_digest": split.info.digest}
    torch.manual_seed(runtime.seed)
    if start is not None:
        recognizer = stored_recognizer(start, split.info)
    elif weights == SCRATCH:
        recognizer = build_recognizer(arch, len(names))
    else:
        recognizer = pretrained_recognizer(arch, names, weights, classes)
    check_crop(recognizer, arch, split.info.crop)
    processor, task = None, None
    if model is not None:
        given_by = read_header(model, "processor")
        task = build_task(given_by["task"], **given_by.get("task_settings", {}))
        processor = load_processor(model)
        about = ("dataset", "task", "objective", "lambda", "recognizer", "seed")
        header["learned_through"] = {key: given_by.get(key) for key in about}
    settings = settings_of(schedule, runtime, name=f"R {arch}", **header)
    with training_job("train-recognizer", settings, save_dir, device) as (where, team, run):
        log_dataset(run, split.info, "training")
        history = []
        if weights == SCRATCH or start is not None:
            fixed = processor and placed(processor, where)
            objective, crops = Classification(recognizer, fixed), Crops(split, task)
            place = (where, team, save_dir)
            history = train_tracked(objective, crops, schedule, runtime, place, settings, run)
        if not team.leader:
            return
        score = _clean_accuracy(freeze(recognizer), source, runtime, where)
        run.log_metrics(score)
        finish(save_dir, {"recognizer": recognizer}, {**header, **score}, history, run)


def run_fetch_weights(recognizers: Sequence[str], weights: str, save_dir: Path) -> None:
    """Load every pretrained R once, which downloads what the cache lacks; write weights.json."""
    found = {}
    for name in Progress(recognizers, name="fetch weights", unit="R"):
        found[name] = {"weights": weights, **build_recognizer(name, 1000, weights).header}
    write_json(save_dir / "weights.json", found)


def _clean_accuracy(recognizer, source: Source, runtime: Runtime, where) -> dict[str, float]:
    """Top-1 and top-5 (%) on clean validation images."""
    batches = validation_batches(Crops(source.open("val"), None), runtime, where)
    images = evaluate(None, None, {"clean": recognizer}, batches, 1, where, measures=()).images
    return {f"clean_{m}": 100 * float(images[f"clean:{m}"].mean()) for m in ("top1", "top5")}


def run_train(
    source: Source,
    task_name: str,
    task_settings: dict[str, Any],
    mode: str,
    weight: float,
    arch: str,
    recognizer_files: Sequence[Path],
    processor: dict[str, Any],
    transformer: dict[str, Any],
    schedule: Schedule,
    runtime: Runtime,
    device: Device,
    save_dir: Path,
) -> None:
    """Train P (and T) and write processor.safetensors, transformer.safetensors, training.csv.

    Args:
        processor, transformer: ``arch`` and its sizes; None keeps the architecture's own.
        arch: the training R by name; several, joined with +, are an ensemble.
        recognizer_files: the fixed R's; without them torchvision's pretrained ``arch`` is taken.
    """
    objective_name = canonical_mode(mode, weight)
    weight = 0.0 if objective_name == "plain" else weight
    task = build_task(task_name, **task_settings)
    split = source.open("train")
    if split.info.crop % task.scale:
        raise UserError(
            f"crop: {split.info.crop} px is not divisible by the sr factor {task.scale}"
        )
    fixed = None
    if objective_name != "plain":
        fixed = training_ensemble(arch, recognizer_files, split.info)
    torch.manual_seed(runtime.seed)
    networks = {"processor": build_processor(scale=task.scale, **given(processor))}
    if objective_name == "ra_transformer":
        networks["transformer"] = build_processor(scale=1, **given(transformer))
    objective = OBJECTIVES.get(objective_name)(recognizer=fixed, weight=weight, **networks)
    identity = {
        "dataset": split.info.name,
        "task": task_name,
        "objective": objective_name,
        "lambda": weight,
        "recognizer": NO_RECOGNIZER if fixed is None else arch,
    }
    settings = settings_of(
        schedule,
        runtime,
        name=run_name(*list(identity.values())[1:], runtime.seed),
        **identity,
        **task_settings,
        data_digest=split.info.digest,
        processor=processor,
        transformer=transformer if "transformer" in networks else None,
    )
    with training_job("train", settings, save_dir, device) as (where, team, run):
        log_dataset(run, split.info, "training")
        if fixed is not None:
            placed(fixed, where)
        place = (where, team, save_dir)
        history = train_tracked(
            objective, Crops(split, task), schedule, runtime, place, settings, run
        )
        if not team.leader:
            return
        header = {**identity, "seed": runtime.seed, "task_settings": task_settings}
        sample = _sample(networks["processor"], Crops(source.open("val"), task), where)
        write_strip(save_dir / "sample.png", sample)
        finish(save_dir, networks, {**header, "settings": settings}, history, run)
        _register(save_dir, networks, identity, runtime.seed, run)


@torch.inference_mode()
def _sample(processor: nn.Module, crops: Crops, where: torch.device, count: int = 6):
    """(input, output, target) of ``count`` validation images, spread over the split."""
    chosen = validation_keys(len(crops), 1)[:: max(1, len(crops) // count)][:count]
    batch = crops.__getitems__([key for keys in chosen for key in keys]).to(where)
    return batch.input.cpu(), processor.eval()(batch.input).cpu(), batch.target.cpu()


def _register(save_dir: Path, networks, identity: dict[str, Any], seed: int, run) -> None:
    """P (and T) in the model registry; another seed or a repetition is another version."""
    task, objective = identity["task"], identity["objective"]
    name = f"{identity['dataset']}-{task}-{objective}-l{identity['lambda']:g}"
    name += f"-{identity['recognizer']}" if identity["recognizer"] != NO_RECOGNIZER else ""
    run.log_model(
        re.sub(r"[/:]", "-", name),  # the two characters a registry does not take
        [save_dir / f"{kind}.safetensors" for kind in networks],
        f"P for {task}, objective {objective}; uint8 images (N, h, w, 3) in and out",
        {**identity, "seed": seed},
    )


def run_import_checkpoint(
    path: Path, task_name: str, mode: str, weight: float, arch: str, save_dir: Path
) -> Path:
    """Write a released P (or T) as processor.safetensors (transformer.safetensors).

    The released files do not say how they were trained: task, mode, lambda and training R are the
    caller's word.
    """
    build_task(task_name)
    objective = canonical_mode(mode, weight)
    module = import_checkpoint(path)
    kind = "transformer" if module.header["arch"] == "pix2pix" else "processor"
    identity = {"dataset": "imagenet", "task": task_name, "objective": objective, "lambda": weight}
    header = {
        "kind": kind,
        **identity,
        "recognizer": NO_RECOGNIZER if objective == "plain" else arch,
    }
    save_model(save_dir / f"{kind}.safetensors", module, {**header, "imported": path.name})
    return save_dir / f"{kind}.safetensors"


def run_evaluate(
    source: Source,
    task_name: str | None,
    task_settings: dict[str, Any],
    model: Path | None,
    model_transformer: Path | None,
    recognizers: Sequence[str],
    runtime: Runtime,
    device: Device,
    save_dir: Path,
) -> None:
    """Judge P (None: no processing) by every R; write evaluation.csv, images.csv and pictures."""
    split = source.open("val")
    header = read_header(model, "processor", "transformer") if model else {}
    if model and task_name and header["task"] != task_name:
        raise UserError(f"{model}: trained for task {header['task']}, not {task_name}")
    task_name = task_name or header.get("task")
    if not task_name:
        raise UserError("--task: needed when --model-sr is none")
    task = build_task(task_name, **{**header.get("task_settings", {}), **task_settings})
    judges = named_recognizers(recognizers, split.info)
    identity = {
        "dataset": split.info.name,
        "task": task_name,
        "p_model": header.get("objective", "no_processing"),
        "lambda": header.get("lambda", 0.0),
        "training_r": header.get("recognizer", NO_RECOGNIZER),
        "seed": header.get("seed", 0),
    }
    settings = {
        **identity,
        "name": "evaluate "
        + run_name(task_name, identity["p_model"], *list(identity.values())[3:]),
        "objective": identity["p_model"],
        "recognizer": identity["training_r"],
        "evaluation_rs": " ".join(judges),
    }
    parent = run_id_in(model.parent) if model else None
    with (
        device.use() as where,
        tracked("evaluate", settings, save_dir, where, parent_run_id=parent) as run,
    ):
        log_dataset(run, split.info, "validation")
        batches = validation_batches(Crops(split, task), runtime, where)
        networks = [load_processor(path) if path else None for path in (model, model_transformer)]
        result = evaluate(
            *networks, judges, batches, task.scale, where, runtime.precision, name=settings["name"]
        )
        _write_evaluation(result, identity, split.paths, save_dir, run)


def _write_evaluation(result: Evaluation, identity, paths, save_dir: Path, run) -> None:
    tidy = summarise(result.images, identity)
    images = result.images.assign(path=[paths[i] for i in result.images["index"]])
    write_strip(save_dir / "strip.png", result.strips)
    matrix = tidy[tidy.metric.isin(["top1", "top5"])].pivot(
        index="metric", columns="evaluation_r", values="value"
    )
    title = f"{task_title(identity['task'])}, {p_model_title(identity['p_model'])}"
    write_heat_map(save_dir / "accuracy.png", matrix.rename(columns=recognizer_title), title)
    write_json(save_dir / "evaluation.json", {"seconds": result.seconds})
    for name, table in (("images.csv", images), ("evaluation.csv", tidy)):
        with atomic(save_dir / name) as temporary:
            table.to_csv(temporary, index=False)
    run.log_metrics(
        {
            f"{r}/{m}".removeprefix(f"{NO_RECOGNIZER}/"): v
            for r, m, v in zip(tidy.evaluation_r, tidy.metric, tidy.value, strict=True)
        },
        step=0,
    )
    for name in ("evaluation.csv", "accuracy.png", "strip.png"):
        run.log_artifact(save_dir / name)
