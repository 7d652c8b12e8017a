"""`ra table`, `ra transfer-matrix` and `ra report`: what is made of evaluations."""

from __future__ import annotations

from ra.reporting.tables import write_tables, write_transfer
from ra.settings.commands import Report, Table, TransferMatrix


def table(o: Table) -> None:
    """Write the paper's tables and, if wanted, the paired tests."""
    write_tables(o.evaluations, o.save_dir, o.recognizers, o.paper)
    if o.significance:
        from ra.reporting.significance import write_significance

        write_significance(o.evaluations, o.save_dir, o.clusters)


def transfer_matrix(o: TransferMatrix) -> None:
    """Write the transfer matrix and table 1 of each task."""
    write_transfer(o.evaluations, o.save_dir, o.recognizers)


def report(o: Report) -> None:
    """Write report.html and its plots."""
    from ra.reporting.page import write_report

    write_report(o.evaluations, o.save_dir, o.data, o.significance, o.recognizers)
