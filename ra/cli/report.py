"""The command that writes the report."""

from __future__ import annotations

from pathlib import Path

from ra.cli.flags import columns_flag, command, files_flag, save_dir_flag


def add(commands) -> None:
    """Add this module's command."""
    p = command(commands, "report", _report, "one HTML page with tables, plots and pictures")
    files_flag(
        p,
        "--evaluations",
        "evaluation.csv files; images.csv and processor.safetensors lie beside them",
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
    columns_flag(p)
    save_dir_flag(p, "for report.html and its plots as SVG")


def _report(o) -> None:
    from ra.reporting.page import write_report

    write_report(o.evaluations, o.save_dir, o.data, o.significance, o.recognizers)
