"""Flags that several commands share, and what is built from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ra.progress import quiet


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


def command(commands, name: str, run, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help, formatter_class=HelpFormatter)
    parser.set_defaults(run=run)
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    return parser


def say(text: object) -> None:
    """A result on stdout, unless --quiet was given."""
    if not quiet():
        print(text)


def save_dir_flag(p, what: str) -> None:
    p.add_argument("--save-dir", type=Path, required=True, metavar="DIR", help=what)


def files_flag(p, flag: str, what: str) -> None:
    """A required list of files."""
    p.add_argument(flag, nargs="+", type=Path, required=True, metavar="FILE", help=what)


def columns_flag(p) -> None:
    p.add_argument(
        "--recognizers",
        nargs="+",
        default=[],
        metavar="R",
        help="columns of the tables, in order (default: every R that occurs)",
    )


def image_flags(p) -> None:
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


def source_flags(p) -> None:
    p.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="prepared data set, or a folder with train/ and val/",
    )
    image_flags(p.add_argument_group("sizes (of a plain folder; a prepared one has its own)"))


def task_flags(p, default: str | None) -> None:
    group = p.add_argument_group("task")
    group.add_argument("--task", default=default, help="sr, dn or jpeg (evaluate: P's own)")
    group.add_argument("--factor", type=int, help="sr: up-scaling factor (default: 4)")
    group.add_argument(
        "--sigma",
        type=float,
        help="dn: standard deviation of the noise, full range is 1 (default: 0.1)",
    )
    group.add_argument("--quality", type=int, help="jpeg: libjpeg quality (default: 10)")


def processor_flags(group) -> None:
    group.add_argument("--sr-arch", default="SRResNet", help="architecture of P")
    group.add_argument("--channels", type=int, help="width of P (default: the architecture's)")
    group.add_argument("--blocks", type=int, help="blocks of P (default: the architecture's)")


def network_flags(p) -> None:
    group = p.add_argument_group("networks")
    processor_flags(group)
    group.add_argument("--transformer-arch", default="pix2pix", help="architecture of T")
    group.add_argument("--transformer-channels", type=int, help="width of T")
    group.add_argument("--transformer-blocks", type=int, help="blocks of T")


def model_flags(p) -> None:
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


def schedule_flags(p) -> None:
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


def runtime_flags(p) -> None:
    group = device_flags(p)
    group.add_argument("--workers", type=int, default=0, help="loader processes; 0 is none extra")
    group.add_argument("--precision", default="fp32", help="fp32, or bf16 by autocast")


def device_flags(p):
    """The flags of commands that compute but load no data in other processes; their group."""
    group = p.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda (a free GPU) or cuda:N")
    group.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's choice")
    group.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU")
    return group


def source(o):
    from ra.jobs.common import Source

    return Source(o.data, o.resize, o.crop)


def task_settings(o) -> dict[str, float]:
    given = {name: getattr(o, name) for name in ("factor", "sigma", "quality")}
    return {name: value for name, value in given.items() if value is not None}


def schedule(o):
    from ra.training.loop import Schedule

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


def runtime(o):
    from ra.training.loop import Runtime

    training = {k: getattr(o, k) for k in ("seed", "checkpoint_seconds") if hasattr(o, k)}
    return Runtime(workers=o.workers, precision=o.precision, **training)


def device(o):
    from ra.jobs.common import Device

    return Device(o.device, o.threads, o.jobs_per_gpu)
