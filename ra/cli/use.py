"""The commands that use results: process, predict, watch."""

from __future__ import annotations

import argparse
from pathlib import Path

from ra.cli.flags import command

MODEL = "processor.safetensors, the folder with it, or models:/NAME/VERSION of MLflow's registry"


def add(commands) -> None:
    """Add this module's commands."""
    _add_process(commands)
    _add_predict(commands)
    _add_watch(commands)


def _use_flags(p) -> None:
    p.add_argument("--model", required=True, metavar="P", help=MODEL)
    p.add_argument(
        "--transformer", action="store_true", help="also apply T, which lies beside P: what R reads"
    )
    p.add_argument(
        "--tile",
        type=int,
        default=512,
        metavar="PX",
        help="side of the tiles in which larger images are done, in pixels, a multiple of 16",
    )
    p.add_argument("--device", default="auto", help="auto, cpu, cuda (a free GPU) or cuda:N")
    p.add_argument("--threads", type=int, default=0, help="CPU threads; 0 is torch's choice")


def _add_process(commands) -> None:
    p = command(
        commands, "process", _process, "restore images with a trained P: files, folders, patterns"
    )
    p.add_argument("inputs", nargs="+", metavar="IN", help="image, folder or 'pattern*.png'")
    p.add_argument(
        "out", type=Path, metavar="OUT", help="result of one image, or a folder (for PNG files)"
    )
    _use_flags(p)


def _process(o) -> None:
    from ra.jobs.inference import run_process

    run_process(o.model, o.inputs, o.out, o.transformer, o.tile, o.device, o.threads)


def _add_predict(commands) -> None:
    p = command(commands, "predict", _predict, "show what R's answer before and after a trained P")
    p.add_argument("inputs", nargs="+", metavar="IN", help="image, folder or 'pattern*.png'")
    p.add_argument(
        "--recognizers",
        nargs="+",
        required=True,
        metavar="R",
        help="recognizer.safetensors or .yaml files, or names of pretrained classifiers",
    )
    p.add_argument(
        "--resize",
        type=int,
        metavar="PX",
        help="R reads the middle square of this side, in pixels (default: the whole image)",
    )
    p.add_argument("--degrade", action="store_true", help="IN are clean images: degrade them first")
    p.add_argument("--csv", type=Path, metavar="FILE", help="also write the answers as CSV")
    _use_flags(p)


def _predict(o) -> None:
    from ra.jobs.inference import run_predict

    what = (o.model, o.inputs, o.recognizers, o.resize, o.degrade, o.csv)
    run_predict(*what, o.transformer, o.tile, o.device, o.threads)


def _add_watch(commands) -> None:
    p = command(
        commands,
        "watch",
        _watch,
        "one line for each job that runs: epoch, images/s, time left",
    )
    p.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="results folder"
    )
    p.add_argument(
        "run_command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND",
        help="run this, such as snakemake --cores 2, and show its jobs below what it says",
    )


def _watch(o) -> int:
    from ra.jobs.watch import watch

    words = o.run_command[1:] if o.run_command[:1] == ["--"] else o.run_command
    return watch(o.results / ".progress", words)
