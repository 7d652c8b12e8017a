"""`ra evaluate`."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ra.data.batches import loader, validation_keys
from ra.data.degradations import TASKS, build_task, inputs_of
from ra.data.splits import Crops, open_split, scaled
from ra.errors import UserError
from ra.evaluation.evaluate import Evaluation, evaluate, summarise
from ra.evaluation.quality import build_measures
from ra.files import write_csv, write_json, write_text
from ra.jobs.record import log_dataset, run_name, start_run
from ra.jobs.training import run_id_in
from ra.models.checkpoints import load_processor, read_header
from ra.models.fixed import named_recognizers
from ra.registry import NO_RECOGNIZER
from ra.reporting.answers import write_answers
from ra.reporting.card import model_card
from ra.reporting.names import (
    CLEAN,
    HEADLINES,
    NO_TASK,
    PLAIN,
    p_model_title,
    recognizer_title,
    task_title,
)
from ra.reporting.plots import write_heat_map, write_strip
from ra.runtime.devices import use_device
from ra.settings.commands import Evaluate


def evaluate_processor(o: Evaluate) -> None:
    """Evaluate a processor, or none, with every recognizer; write evaluation.csv, images.csv,
    pictures and, beside a processor, its model card README.md."""
    if o.model_sr is None:
        raise UserError("--model-sr: needed; a processor.safetensors, none or clean")
    clean = o.model_sr == CLEAN
    model = None if o.model_sr in (CLEAN, "none") else Path(o.model_sr)
    save_dir = o.save_dir or (model.parent if model else None)
    if save_dir is None:
        raise UserError(f"--save-dir: needed when --model-sr is {o.model_sr}")
    header = read_header(model, "processor", "transformer") if model else {}
    own = not o.task or header.get("task") == o.task
    if model and not own and not getattr(TASKS.get(o.task), "reads", False):
        raise UserError(f"{model}: trained for task {header['task']}, not {o.task}")
    name = o.task or header.get("task")
    if not name and not clean:
        raise UserError("--task: needed when --model-sr is none")
    given = {**(header.get("task_settings", {}) if own else {}), **o.task_settings}
    task = None if clean else build_task(name, **TASKS.check(name, given, "--"))
    inputs = inputs_of(task)
    split = open_split(**dict(o.source), split="val", inputs=inputs)
    task = scaled(task, split.info)
    released = o.protocol == "released"
    padded = {"padded": True} if released and "ssim" in o.metrics else {}
    measures = build_measures(o.metrics, padded | o.measure_settings)
    made, scale = task, 1 if clean else task.scale
    if split.info.degraded:  # the images are inputs; a processor that up-scales gets small ones
        measures, made = {}, build_task("sr", factor=scale) if scale > 1 else None
    measures = {} if inputs == "" or clean else measures  # nothing to compare the outputs with
    recognizers = named_recognizers(o.recognizers, split.info)
    identity = {
        "dataset": split.info.name,
        "task": NO_TASK if clean else name,
        "p_model": CLEAN if clean else header.get("objective", "no_processing"),
        "lambda": header.get("lambda", 0.0),
        "training_r": header.get("recognizer", NO_RECOGNIZER),
        "seed": header.get("seed", 0),
    }
    settings = identity | {
        "name": "evaluate " + run_name(*list(identity.values())[1:]),
        "objective": identity["p_model"],
        "recognizer": identity["training_r"],
        "evaluation_rs": " ".join(recognizers),
    }
    parent = run_id_in(model.parent) if model else None
    with (
        use_device(o.runtime) as where,
        start_run("evaluate", settings, where, parent_run_id=parent) as run,
    ):
        log_dataset(run, split.info, "validation")
        crops = Crops(split, made)
        batches = loader(
            crops, validation_keys(len(crops), crop=split.info.crop), o.runtime.workers, where
        )
        files = (model, o.model_transformer)
        processor, transformer = (load_processor(path) if path else None for path in files)
        more: dict[str, Any] = {"name": settings["name"], "measures": measures}
        more |= {"labels": bool(split.info.classes), "rounded": released}
        precision = o.runtime.precision
        result = evaluate(
            processor, transformer, recognizers, batches, scale, where, precision, **more
        )
        tidy = _write(result, identity, split.paths, save_dir, run, o.plain)
        if split.info.objects:
            shown = (result.strips[1], recognizers, split.info.classes)
            write_answers(save_dir / "answers.png", *shown)
        if model and save_dir.resolve() == model.parent.resolve():
            write_text(save_dir / "README.md", model_card(header, tidy, split.info))


def _write(
    result: Evaluation, identity: dict[str, Any], paths: list[str], save_dir: Path, run, plain
) -> pd.DataFrame:
    """The rows of evaluation.csv, which is written with the other files of an evaluation."""
    tidy = summarise(result.images, identity)
    images = result.images.assign(path=[paths[i] for i in result.images["index"]])
    targets = NO_RECOGNIZER in set(tidy.evaluation_r)
    write_strip(save_dir / "strip.png", _rows(result.strips, identity["p_model"], plain, targets))
    matrix = tidy[tidy.metric.isin(HEADLINES)].pivot(
        index="metric", columns="evaluation_r", values="value"
    )
    title = f"{task_title(identity['task'])}, {p_model_title(identity['p_model'])}"
    trained = str(identity["training_r"]).split("+")
    order = [r for r in tidy.evaluation_r.unique() if r in matrix]  # that of the tables
    heads = [recognizer_title(r) + " (training R)" * (r in trained) for r in order]
    write_heat_map(save_dir / "accuracy.png", matrix[order].set_axis(heads, axis=1), title)
    write_json(save_dir / "evaluation.json", {"seconds": result.seconds})
    write_csv(save_dir / "images.csv", images)
    write_csv(save_dir / "evaluation.csv", tidy)
    rows = tidy[["evaluation_r", "metric", "value"]].itertuples(index=False)
    run.log_metrics({f"{r}/{m}".removeprefix(f"{NO_RECOGNIZER}/"): v for r, m, v in rows})
    run.log_table(save_dir / "images.csv")
    for name in ("evaluation.csv", "accuracy.png", "strip.png"):
        run.log_artifact(save_dir / name)
    return tidy


@torch.inference_mode()
def _rows(
    strips: tuple[Tensor, ...], p_model: str, plain: Path | None, targets: bool
) -> dict[str, Tensor]:
    """The rows of strip.png by title."""
    given, output, target = strips
    rows = {} if p_model == CLEAN else {"Input": given}
    if plain:
        rows[p_model_title(PLAIN)] = load_processor(plain).eval()(given)
    rows[p_model_title(p_model)] = output
    return rows | ({p_model_title(CLEAN): target} if targets else {})
