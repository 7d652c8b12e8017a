"""The commands of `snakemake analysis` that make tables and surveys."""

from __future__ import annotations

from pathlib import Path

from ra.progress import say
from ra.settings import analysis_commands as commands


def split(o: commands.SplitClasses) -> None:
    """Write two halves of a prepared data set's classes."""
    from ra.analysis.categories.halves import split_classes

    for half, classes in split_classes(o.data, o.save_dir, o.seed).items():
        say(f"{half}: {', '.join(classes)}")


def categories(o: commands.Categories) -> None:
    """Write the table of transfer to other classes."""
    from ra.analysis.categories.table import write_categories

    write_categories({"A": o.trained_on_a, "B": o.trained_on_b}, o.save_dir)


def lambda_sweep(o: commands.LambdaSweep) -> None:
    """Write accuracy against image quality."""
    from ra.analysis.lambdas import write_lambdas

    write_lambdas(o.evaluations, o.training_r, o.save_dir)


def extras(o: commands.Extras) -> None:
    """Write the rows beyond the paper."""
    from ra.analysis.extras import write_extras

    groups = [(name, [Path(file) for file in files]) for name, *files in o.group]
    write_extras(groups, o.save_dir)


def boundaries(o: commands.Boundaries) -> None:
    """Survey decision boundaries around the outputs of a plain processor."""
    from ra.analysis.boundaries.job import run_boundaries

    files = (o.plain, o.ra, o.recognizers)
    run_boundaries(o.source, *files, o, o.machine, o.save_dir)


def boundaries_table(o: commands.BoundariesTable) -> None:
    """Relate similarity of boundaries to gain by transfer."""
    from ra.analysis.boundaries.transfer import write_transfer

    write_transfer(o.pairs, o.evaluations, o.save_dir)
