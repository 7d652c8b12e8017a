"""The ``ra`` command: argument parsing only. Flags of the released script keep their names."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ra import __version__
from ra.errors import UserError

PAPER_RECOGNIZERS = ("resnet18", "resnet50", "resnet101", "densenet121", "vgg16_bn")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those of flags that are required, switches or explained in words."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default in (None, False, []) or "default" in action.help:
            return action.help
        return super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one ``ra`` command; a user's mistake is one line on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", 0):
        # Before torch is imported: its thread pools read this once.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        options.run(options)
    except UserError as error:
        print(f"ra {options.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"ra {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> Parser:
    parser = Parser(prog="ra", description="Recognition-aware image processing.")
    parser.add_argument("--version", action="version", version=f"ra {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_prepare,
        _add_train_recognizer,
        _add_train,
        _add_import_checkpoint,
        _add_evaluate,
        _add_table,
    ):
        add(commands)
    return parser


def _command(commands, name: str, run, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help, formatter_class=HelpFormatter)
    parser.set_defaults(run=run)
    return parser


def _add_prepare(commands) -> None:
    p = _command(commands, "prepare", _prepare, "read a folder of images once, into a cache")
    p.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="folder with train/CLASS/ and val/CLASS/; or 'embedded': photographs of "
        "installed packages; 'embedded-tune': their training half, split again",
    )
    p.add_argument("--save-dir", type=Path, required=True, metavar="DIR", help="prepared data set")
    p.add_argument("--name", help="name of the data set in results (default: its path)")
    _image_flags(p)
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
    from ra.jobs import run_prepare

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
    print(
        f"{info.name}: {len(info.classes)} classes, {info.images['train']} training and "
        f"{info.images['val']} validation images in {o.save_dir}"
    )


def _add_train_recognizer(commands) -> None:
    p = _command(
        commands,
        "train-recognizer",
        _train_recognizer,
        "train a recognizer R on clean images, or store pretrained weights",
    )
    _source_flags(p)
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
        "--save-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="for recognizer.safetensors and training.csv",
    )
    _schedule_flags(p)
    _runtime_flags(p)


def _train_recognizer(o) -> None:
    from ra.jobs import run_train_recognizer

    run_train_recognizer(
        _source(o), o.arch, o.weights, o.classes, _schedule(o), _runtime(o), _device(o), o.save_dir
    )


def _add_train(commands) -> None:
    p = _command(commands, "train", _train, "train a processor P (and a transformer T)")
    _source_flags(p)
    _task_flags(p, default="sr")
    p.add_argument(
        "--mode",
        default="ra",
        help="objective: plain, ra, ra_transformer (or ra_transform), ra_unsupervised",
    )
    p.add_argument(
        "--l",
        type=float,
        default=0.001,
        metavar="LAMBDA",
        help="weight of the recognition loss; ra with 0 is plain",
    )
    p.add_argument("--arch", default="resnet18", help="training R, by name")
    p.add_argument(
        "--recognizer",
        type=Path,
        metavar="FILE",
        help="recognizer.safetensors of the training R (default: pretrained --arch)",
    )
    _network_flags(p)
    p.add_argument(
        "--save-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="for models, training.csv and the resume state",
    )
    p.add_argument(
        "--cross-evaluate",
        action="store_true",
        help="do not train: evaluate --model-sr, as ra evaluate does",
    )
    _model_flags(p)
    _schedule_flags(p)
    _runtime_flags(p)


def _train(o) -> None:
    from ra.jobs import run_train

    if o.cross_evaluate:
        o.recognizers = list(PAPER_RECOGNIZERS)
        return _evaluate(o)
    networks = [
        {
            "arch": getattr(o, f"{prefix}arch"),
            "channels": getattr(o, f"{size}channels"),
            "blocks": getattr(o, f"{size}blocks"),
        }
        for prefix, size in (("sr_", ""), ("transformer_", "transformer_"))
    ]
    run_train(
        _source(o),
        o.task,
        _task_settings(o),
        o.mode,
        o.l,
        o.arch,
        o.recognizer,
        *networks,
        _schedule(o),
        _runtime(o),
        _device(o),
        o.save_dir,
    )


def _add_import_checkpoint(commands) -> None:
    p = _command(
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
    p.add_argument("--save-dir", type=Path, required=True, metavar="DIR", help="for the model")


def _import_checkpoint(o) -> None:
    from ra.jobs import run_import_checkpoint

    print(run_import_checkpoint(o.file, o.task, o.mode, o.l, o.arch, o.save_dir))


def _add_evaluate(commands) -> None:
    p = _command(commands, "evaluate", _evaluate, "judge one P by every R in one pass")
    _source_flags(p)
    _task_flags(p, default=None)
    _model_flags(p)
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
    _runtime_flags(p)


def _evaluate(o) -> None:
    from ra.jobs import run_evaluate

    if o.model_sr is None:
        raise UserError("--model-sr: needed; a processor.safetensors, or none")
    model = None if o.model_sr == "none" else Path(o.model_sr)
    if model is None and o.save_dir is None:
        raise UserError("--save-dir: needed when --model-sr is none")
    run_evaluate(
        _source(o),
        o.task,
        _task_settings(o),
        model,
        o.model_transformer,
        o.recognizers,
        _runtime(o),
        _device(o),
        o.save_dir or model.parent,
    )


def _add_table(commands) -> None:
    p = _command(commands, "table", _table, "pivot evaluations into the paper's tables")
    p.add_argument(
        "--evaluations",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="evaluation.csv files",
    )
    p.add_argument(
        "--recognizers",
        nargs="+",
        default=[],
        metavar="R",
        help="columns of the tables, in order (default: every R that occurs)",
    )
    p.add_argument(
        "--paper",
        action="store_true",
        help="also write paper.csv: ours beside the published figures",
    )
    p.add_argument(
        "--save-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="for TASK.csv, quality.csv and all.csv, each table also as Markdown",
    )


def _table(o) -> None:
    from ra.tables import write_tables

    write_tables(o.evaluations, o.save_dir, o.recognizers, o.paper)


def _image_flags(p) -> None:
    p.add_argument(
        "--resize",
        type=_pixels,
        default=256,
        metavar="PX",
        help="shorter side after resizing, in pixels; 'none' keeps sizes",
    )
    p.add_argument("--crop", type=int, default=224, metavar="PX", help="side of crops, in pixels")


def _pixels(text: str) -> int | None:
    return None if text == "none" else int(text)


def _source_flags(p) -> None:
    p.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="prepared data set, or a folder with train/ and val/",
    )
    _image_flags(p.add_argument_group("sizes (of a plain folder; a prepared one has its own)"))


def _task_flags(p, default: str | None) -> None:
    group = p.add_argument_group("task")
    group.add_argument("--task", default=default, help="sr, dn or jpeg (evaluate: P's own)")
    group.add_argument("--factor", type=int, help="sr: up-scaling factor (default: 4)")
    group.add_argument(
        "--sigma",
        type=float,
        help="dn: standard deviation of the noise, full range is 1 (default: 0.1)",
    )
    group.add_argument("--quality", type=int, help="jpeg: libjpeg quality (default: 10)")


def _network_flags(p) -> None:
    group = p.add_argument_group("networks")
    group.add_argument("--sr-arch", default="SRResNet", help="architecture of P")
    group.add_argument("--channels", type=int, help="width of P (default: the architecture's)")
    group.add_argument("--blocks", type=int, help="blocks of P (default: the architecture's)")
    group.add_argument("--transformer-arch", default="pix2pix", help="architecture of T")
    group.add_argument("--transformer-channels", type=int, help="width of T")
    group.add_argument("--transformer-blocks", type=int, help="blocks of T")


def _model_flags(p) -> None:
    group = p.add_argument_group("models to evaluate")
    group.add_argument(
        "--model-sr", metavar="FILE", help="processor.safetensors, or 'none' for no processing"
    )
    group.add_argument(
        "--model-transformer",
        type=Path,
        metavar="FILE",
        help="transformer.safetensors, between P and R",
    )


def _schedule_flags(p) -> None:
    group = p.add_argument_group("schedule (defaults: the paper's)")
    group.add_argument("--epochs", type=int, default=6, help="passes over the training images")
    group.add_argument("--batch-size", type=int, default=20, help="images a step")
    group.add_argument("--optimizer", default="adam", help="adam, adamw, sgd (momentum 0.9)")
    group.add_argument("--lr", type=float, default=1e-4, help="learning rate at the start")
    group.add_argument("--lr-schedule", default="step", help="step, or cosine to zero")
    group.add_argument(
        "--lr-steps",
        type=int,
        nargs="*",
        default=[4, 5],
        help="epochs, from 0, that begin with a lower rate",
    )
    group.add_argument("--lr-gamma", type=float, default=0.1, help="factor at each of --lr-steps")
    group.add_argument("--warmup", type=int, default=0, help="steps of linear warm-up")
    group.add_argument("--weight-decay", type=float, default=0.0, help="weight decay")
    group.add_argument("--seed", type=int, default=0, help="of weights, order, crops and noise")
    group.add_argument(
        "--checkpoint-seconds", type=float, default=60.0, help="seconds between saved resume states"
    )


def _runtime_flags(p) -> None:
    group = p.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda (a free GPU) or cuda:N")
    group.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's choice")
    group.add_argument("--workers", type=int, default=0, help="loader processes; 0 is none extra")
    group.add_argument("--precision", default="fp32", help="fp32, or bf16 by autocast")
    group.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU")


def _source(o):
    from ra.jobs import Source

    return Source(o.data, o.resize, o.crop)


def _task_settings(o) -> dict[str, float]:
    given = {name: getattr(o, name) for name in ("factor", "sigma", "quality")}
    return {name: value for name, value in given.items() if value is not None}


def _schedule(o):
    from ra.training import Schedule

    return Schedule(
        o.epochs,
        o.batch_size,
        o.optimizer,
        o.lr,
        o.lr_schedule,
        tuple(o.lr_steps),
        o.lr_gamma,
        o.warmup,
        o.weight_decay,
    )


def _runtime(o):
    from ra.training import Runtime

    training = {k: getattr(o, k) for k in ("seed", "checkpoint_seconds") if hasattr(o, k)}
    return Runtime(workers=o.workers, precision=o.precision, **training)


def _device(o):
    from ra.jobs import Device

    return Device(o.device, o.threads, o.jobs_per_gpu)
