"""Plots of the analyses: matplotlib without a screen, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from ra.files import atomic


def panels(columns: int, width: float, height: float, rows: int = 1):
    """(figure, list of axes, row by row): panels of ``width`` x ``height`` inches."""
    # Imported here: only jobs that draw pay for it. The Agg canvas needs no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure, path: Path) -> None:
    """Write ``figure`` as the suffix of ``path`` says."""
    with atomic(path) as temporary:
        figure.savefig(temporary)
