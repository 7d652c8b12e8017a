"""`ra black-box`, `ra black-box-sheet`, `ra predict-label`: recognizers known by their answers."""

from __future__ import annotations

import shlex
from pathlib import Path

from ra.cli.flags import command, device, device_flags, save_dir_flag, source, source_flags
from ra.errors import UserError


def add(commands) -> None:
    """Add this module's commands."""
    for add_one in (_add_black_box, _add_sheet, _add_predict_label):
        add_one(commands)


def _add_black_box(commands) -> None:
    p = command(
        commands,
        "black-box",
        _black_box,
        "ask an HTTP endpoint or a program about plain and RA images",
    )
    source_flags(p)
    for name, what in (("--plain", "plain P's"), ("--ra", "RA P's, each of the task of its plain")):
        p.add_argument(
            name,
            nargs="+",
            type=Path,
            required=True,
            metavar="FILE",
            help=f"processor.safetensors of {what}",
        )
    p.add_argument("--images", type=int, default=200, help="validation images")
    p.add_argument("--seed", type=int, default=0, help="draws images and the order of the sheet")
    p.add_argument(
        "--against",
        nargs="+",
        choices=["label", "clean"],
        default=["label", "clean"],
        help="hold answers against the label, or the answer on the clean image",
    )
    p.add_argument("--classes", type=Path, metavar="FILE", help="YAML: answer -> class name")
    p.add_argument("--judged", type=int, default=60, help="images on the sheet for people")
    p.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="answers that were got before (default: cache in --save-dir)",
    )
    save_dir_flag(p, "for answers.csv, agreement.csv, agreement.md, sheet.csv, key.csv, pictures")
    _box_flags(p)
    device_flags(p)


def _box_flags(p) -> None:
    box = p.add_argument_group("the black box: one of --url and --command")
    box.add_argument(
        "--command",
        dest="program",
        metavar="WORDS",
        help="program that prints a label a line for PNG files; {files} stands for them",
    )
    box.add_argument("--batch", type=int, default=500, help="files a call of --command")
    box.add_argument("--url", help="where each image is POSTed")
    box.add_argument(
        "--label-path", metavar="PATH", help="where the label is in the JSON: labels.0.name"
    )
    box.add_argument("--key-env", metavar="NAME", help="environment variable that holds the key")
    box.add_argument("--key-header", default="Authorization", help="header that carries the key")
    box.add_argument("--key-prefix", default="Bearer ", help="what stands before the key there")
    box.add_argument(
        "--body",
        metavar="JSON",
        help='JSON to send; "{image}" in it becomes the PNG in base64 (default: the PNG itself)',
    )
    box.add_argument("--field", help="send the PNG as this field of a form")
    box.add_argument("--per-second", type=float, default=5.0, help="requests a second, at most")
    box.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for the server")
    box.add_argument("--retries", type=int, default=6, help="repetitions of a failed request")


def _black_box(o) -> None:
    from ra.analysis.black_box.study import run_black_box

    run_black_box(
        source(o),
        o.plain,
        o.ra,
        _box(o),
        o.images,
        o.against,
        o.classes,
        o.judged,
        o.seed,
        device(o),
        o.cache or o.save_dir / "cache",
        o.save_dir,
    )


def _box(o):
    from ra.analysis.black_box.client import Command, Endpoint

    if bool(o.url) == bool(o.program):
        raise UserError("--url and --command: give one of them")
    if o.program:
        return Command(tuple(shlex.split(o.program)), o.batch, max(o.timeout, 600.0))
    if not o.label_path:
        raise UserError("--label-path: needed with --url; where the label is in the answer")
    return Endpoint(
        o.url,
        o.label_path,
        o.key_env,
        o.key_header,
        o.key_prefix,
        o.body,
        o.field,
        o.per_second,
        o.timeout,
        o.retries,
    )


def _add_sheet(commands) -> None:
    p = command(
        commands, "black-box-sheet", _sheet, "read a sheet that people filled in, and test it"
    )
    p.add_argument("--sheet", type=Path, required=True, metavar="FILE", help="sheet.csv, filled in")
    p.add_argument("--key", type=Path, required=True, metavar="FILE", help="key.csv beside it")
    save_dir_flag(p, "for preferences.csv and preferences.md")


def _sheet(o) -> None:
    from ra.analysis.black_box.sheet import run_sheet

    run_sheet(o.sheet, o.key, o.save_dir)


def _add_predict_label(commands) -> None:
    p = command(
        commands, "predict-label", _predict_label, "print the class that R sees in each image file"
    )
    p.add_argument(
        "--recognizer", type=Path, required=True, metavar="FILE", help="recognizer.safetensors"
    )
    p.add_argument("files", nargs="+", type=Path, metavar="IMAGE", help="image files")
    device_flags(p)


def _predict_label(o) -> None:
    from ra.analysis.black_box.predict_label import predict_labels

    with device(o).use() as where:
        for name in predict_labels(o.recognizer, o.files, where):
            print(name)
