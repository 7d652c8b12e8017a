"""Plots of the analyses: matplotlib without a screen, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from ra.files import atomic


def axes_in_a_row(count: int, width: float, height: float):
    """(figure, list of axes): ``count`` panels of ``width`` x ``height`` inches."""
    # Imported here: only jobs that draw pay for it. The Agg canvas needs no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), dpi=110)
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def save(figure, path: Path) -> None:
    """Write ``figure`` as the suffix of ``path`` says."""
    figure.tight_layout()
    with atomic(path) as temporary:
        figure.savefig(temporary)
