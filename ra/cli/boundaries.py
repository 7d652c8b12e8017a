"""`ra boundaries` and `ra boundaries-table`: decision boundaries and transfer."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import (
    command,
    device,
    device_flags,
    files_flag,
    save_dir_flag,
    source,
    source_flags,
)


def add(commands) -> None:
    """Add this module's commands."""
    _add_boundaries(commands)
    _add_table(commands)


def _add_boundaries(commands) -> None:
    p = command(
        commands,
        "boundaries",
        _boundaries,
        "compare the decision boundaries of R's around processed images",
    )
    source_flags(p)
    p.add_argument(
        "--plain",
        type=Path,
        required=True,
        metavar="FILE",
        help="processor.safetensors of plain P, whose outputs are the points of departure",
    )
    p.add_argument(
        "--ra",
        type=Path,
        required=True,
        metavar="FILE",
        help="processor.safetensors of RA P, to whose outputs the first direction leads",
    )
    p.add_argument(
        "--recognizers",
        nargs="+",
        required=True,
        metavar="R",
        help="recognizer.safetensors files or names of pretrained classifiers, the training R "
        "of --ra among them",
    )
    p.add_argument("--images", type=int, default=150, help="validation images")
    p.add_argument("--planes", type=int, default=40, help="images around which planes are drawn")
    p.add_argument("--grid", type=int, default=15, help="points along a side of a plane")
    p.add_argument(
        "--radius",
        type=float,
        default=0.15,
        help="half a plane's side and the farthest distance: RMS, full range is 1",
    )
    p.add_argument("--steps", type=int, default=20, help="distances tried along a direction")
    p.add_argument("--seed", type=int, default=0, help="of images and random directions")
    save_dir_flag(p, "for pairs.csv and planes.png")
    device_flags(p)


def _boundaries(o) -> None:
    from ra.analysis.boundaries.job import run_boundaries
    from ra.analysis.boundaries.survey import Survey

    survey = Survey(o.grid, o.radius, o.steps, o.seed)
    run_boundaries(
        source(o), o.plain, o.ra, o.recognizers, survey, o.images, o.planes, device(o), o.save_dir
    )


def _add_table(commands) -> None:
    p = command(
        commands,
        "boundaries-table",
        _table,
        "similarity of boundaries x transfer gain, with rank correlation",
    )
    files_flag(p, "--pairs", "pairs.csv files of ra boundaries")
    files_flag(
        p,
        "--evaluations",
        "evaluation.csv files of the plain and RA P's; images.csv is beside each",
    )
    save_dir_flag(p, "for transfer.csv, correlation.csv, boundaries.md and scatter.png")


def _table(o) -> None:
    from ra.analysis.boundaries.transfer import write_transfer

    write_transfer(o.pairs, o.evaluations, o.save_dir)
