"""The command that writes the report."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import command


def add(commands) -> None:
    """Add this module's command."""
    p = command(commands, "report", _report, "one HTML page with tables, plots and pictures")
    p.add_argument(
        "--evaluations",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="evaluation.csv files; images.csv and processor.safetensors lie beside them",
    )
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="prepared data set (default: no pictures)"
    )
    p.add_argument(
        "--significance",
        type=Path,
        metavar="FILE",
        help="significance.csv of ra table (default: no marks)",
    )
    p.add_argument(
        "--recognizers",
        nargs="+",
        default=[],
        metavar="R",
        help="columns of the tables, in order (default: every R that occurs)",
    )
    p.add_argument(
        "--save-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="for report.html and its plots as SVG",
    )


def _report(o) -> None:
    from ra.report import write_report

    write_report(o.evaluations, o.save_dir, o.data, o.significance, o.recognizers)
