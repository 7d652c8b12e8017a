"""The commands of the default DAG: prepare, train (P, R), import-checkpoint, evaluate, table."""

from __future__ import annotations

import argparse
from pathlib import Path

from ra.cli.flags import (
    columns_flag,
    command,
    device,
    files_flag,
    image_flags,
    model_flags,
    network_flags,
    runtime,
    runtime_flags,
    save_dir_flag,
    say,
    schedule,
    schedule_flags,
    source,
    source_flags,
    task_flags,
    task_settings,
)
from ra.errors import UserError

PAPER_RECOGNIZERS = ("resnet18", "resnet50", "resnet101", "densenet121", "vgg16_bn")


def add(commands) -> None:
    """Add this module's commands."""
    for add_one in (
        _add_prepare,
        _add_train_recognizer,
        _add_train,
        _add_import_checkpoint,
        _add_evaluate,
        _add_table,
        _add_transfer_matrix,
        _add_fetch_weights,
    ):
        add_one(commands)


def _add_prepare(commands) -> None:
    p = command(commands, "prepare", _prepare, "read a folder of images once, into a cache")
    p.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="folder with train/CLASS/ and val/CLASS/; or 'embedded': photographs of "
        "installed packages; 'embedded-tune': their training half, split again",
    )
    save_dir_flag(p, "prepared data set")
    p.add_argument("--name", help="name of the data set in results (default: its path)")
    image_flags(p)
    p.add_argument(
        "--cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep decoded pixels on disk, height x width x 3 bytes an image",
    )
    p.add_argument(
        "--on-bad-image",
        choices=["fail", "skip"],
        default="fail",
        help="at an unreadable or too small image: stop, or name it and go on",
    )
    p.add_argument("--workers", type=int, default=0, help="decoding processes")


def _prepare(o) -> None:
    from ra.jobs.core import run_prepare

    info = run_prepare(
        o.data,
        o.save_dir,
        o.name,
        resize=o.resize,
        crop=o.crop,
        decode=o.cache,
        on_bad_image=o.on_bad_image,
        workers=o.workers,
    )
    say(
        f"{info.name}: {len(info.classes)} classes, {info.images['train']} training and "
        f"{info.images['val']} validation images in {o.save_dir}"
    )


def _add_train_recognizer(commands) -> None:
    p = command(
        commands,
        "train-recognizer",
        _train_recognizer,
        "train a recognizer R on clean images, or store pretrained weights",
    )
    source_flags(p)
    p.add_argument("--arch", default="resnet18", help="torchvision classifier, or timm:NAME")
    p.add_argument(
        "--weights",
        default="scratch",
        help="'scratch', or the name of pretrained weights, such as IMAGENET1K_V1",
    )
    p.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="maps folder names to logits of pretrained weights",
    )
    p.add_argument(
        "--fine-tune",
        type=Path,
        metavar="FILE",
        help="recognizer.safetensors that is trained further",
    )
    p.add_argument(
        "--model-sr",
        type=Path,
        metavar="FILE",
        help="processor.safetensors through whose outputs R learns (default: clean images)",
    )
    save_dir_flag(p, "for recognizer.safetensors and training.csv")
    schedule_flags(p)
    runtime_flags(p)


def _train_recognizer(o) -> None:
    from ra.jobs.core import run_train_recognizer

    run_train_recognizer(
        source(o),
        o.arch,
        o.weights,
        o.classes,
        schedule(o),
        runtime(o),
        device(o),
        o.save_dir,
        o.fine_tune,
        o.model_sr,
    )


def _add_train(commands) -> None:
    p = command(commands, "train", _train, "train a processor P (and a transformer T)")
    source_flags(p)
    task_flags(p, default="sr")
    p.add_argument(
        "--mode",
        default="ra",
        help="objective: plain, ra, ra_transformer (or ra_transform), ra_unsupervised, perceptual",
    )
    p.add_argument(
        "--l",
        type=float,
        default=0.001,
        metavar="LAMBDA",
        help="weight of the recognition loss; ra with 0 is plain",
    )
    p.add_argument("--arch", default="resnet18", help="training R, by name; R+R is an ensemble")
    p.add_argument(
        "--recognizer",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="recognizer.safetensors of the training R, one for each name in --arch "
        "(default: pretrained --arch)",
    )
    network_flags(p)
    p.add_argument(
        "--save-dir",
        type=Path,
        metavar="DIR",
        help="for models, training.csv and the resume state; of --cross-evaluate: for its "
        "results (default: beside the model)",
    )
    p.add_argument(
        "--cross-evaluate",
        action="store_true",
        help="do not train: evaluate --model-sr, as ra evaluate does",
    )
    model_flags(p)
    schedule_flags(p)
    runtime_flags(p)


def _train(o) -> None:
    from ra.jobs.core import run_train

    if o.cross_evaluate:
        o.recognizers = list(PAPER_RECOGNIZERS)
        return _evaluate(o)
    if o.save_dir is None:
        raise UserError("--save-dir: needed; the folder for the models")
    networks = [
        {
            "arch": getattr(o, f"{prefix}arch"),
            "channels": getattr(o, f"{size}channels"),
            "blocks": getattr(o, f"{size}blocks"),
        }
        for prefix, size in (("sr_", ""), ("transformer_", "transformer_"))
    ]
    run_train(
        source(o),
        o.task,
        task_settings(o),
        o.mode,
        o.l,
        o.arch,
        o.recognizer,
        *networks,
        schedule(o),
        runtime(o),
        device(o),
        o.save_dir,
    )


def _add_import_checkpoint(commands) -> None:
    p = command(
        commands,
        "import-checkpoint",
        _import_checkpoint,
        "turn a released, pickled P or T into safetensors; nothing in it is executed",
    )
    p.add_argument("file", type=Path, metavar="FILE", help="the released checkpoint")
    p.add_argument("--task", required=True, help="what it was trained for: sr, dn or jpeg")
    p.add_argument("--mode", default="ra", help="objective it was trained with")
    p.add_argument("--l", type=float, default=0.001, metavar="LAMBDA", help="its lambda")
    p.add_argument("--arch", default="resnet18", help="its training R")
    save_dir_flag(p, "for the model")


def _import_checkpoint(o) -> None:
    from ra.jobs.core import run_import_checkpoint

    say(run_import_checkpoint(o.file, o.task, o.mode, o.l, o.arch, o.save_dir))


def _add_evaluate(commands) -> None:
    p = command(commands, "evaluate", _evaluate, "judge one P by every R in one pass")
    source_flags(p)
    task_flags(p, default=None)
    model_flags(p)
    p.add_argument(
        "--recognizers",
        nargs="+",
        default=list(PAPER_RECOGNIZERS),
        metavar="R",
        help="recognizer.safetensors files, or names of pretrained classifiers",
    )
    p.add_argument(
        "--save-dir",
        type=Path,
        metavar="DIR",
        help="for evaluation.csv, images.csv and pictures (default: beside the model)",
    )
    runtime_flags(p)


def _evaluate(o) -> None:
    from ra.jobs.core import run_evaluate

    if o.model_sr is None:
        raise UserError("--model-sr: needed; a processor.safetensors, or none")
    model = None if o.model_sr == "none" else Path(o.model_sr)
    if model is None and o.save_dir is None:
        raise UserError("--save-dir: needed when --model-sr is none")
    run_evaluate(
        source(o),
        o.task,
        task_settings(o),
        model,
        o.model_transformer,
        o.recognizers,
        runtime(o),
        device(o),
        o.save_dir or model.parent,
    )


def _evaluations_flags(p) -> None:
    files_flag(p, "--evaluations", "evaluation.csv files")
    columns_flag(p)


def _add_table(commands) -> None:
    p = command(commands, "table", _table, "pivot evaluations into the paper's tables")
    _evaluations_flags(p)
    p.add_argument(
        "--paper",
        action="store_true",
        help="also write paper.csv: ours beside the published figures",
    )
    p.add_argument(
        "--significance",
        action="store_true",
        help="also write significance.csv: every P against the plain one, paired tests; reads "
        "the images.csv beside each evaluation.csv",
    )
    save_dir_flag(p, "for TASK.csv, quality.csv and all.csv, each table also as Markdown and LaTeX")


def _table(o) -> None:
    from ra.reporting.significance import write_significance
    from ra.reporting.tables import write_tables

    write_tables(o.evaluations, o.save_dir, o.recognizers, o.paper)
    if o.significance:
        write_significance(o.evaluations, o.save_dir)


def _add_transfer_matrix(commands) -> None:
    text = "pivot evaluations by training R: transfer matrix and table 1 of the paper"
    p = command(commands, "transfer-matrix", _transfer_matrix, text)
    _evaluations_flags(p)
    save_dir_flag(p, "for transfer_TASK and table1_TASK, as CSV, Markdown, LaTeX and heat map")


def _transfer_matrix(o) -> None:
    from ra.reporting.tables import write_transfer

    write_transfer(o.evaluations, o.save_dir, o.recognizers)


def _add_fetch_weights(commands) -> None:
    text = "download pretrained weights into the libraries' cache (TORCH_HOME), before any GPU job"
    p = command(commands, "fetch-weights", _fetch_weights, text)
    p.add_argument(
        "--recognizers", nargs="+", default=list(PAPER_RECOGNIZERS), metavar="R", help="names"
    )
    p.add_argument("--weights", default="IMAGENET1K_V1", help="name of the weights")
    save_dir_flag(p, "for weights.json, the list")


def _fetch_weights(o) -> None:
    from ra.jobs.core import run_fetch_weights

    run_fetch_weights(o.recognizers, o.weights, o.save_dir)
