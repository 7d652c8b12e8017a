"""`ra table`, `ra transfer-matrix` and `ra report`: what is made of evaluations."""

from __future__ import annotations

import re

import pandas as pd

from ra.reporting.tables import read_evaluations, write_tables, write_transfer
from ra.settings.commands import Report, Table, TransferMatrix
from ra.tracking.run import start_run


def table(o: Table) -> None:
    """Write the paper's tables and, if wanted, the paired tests; record each task's best."""
    write_tables(o.evaluations, o.save_dir, o.recognizers, o.paper)
    if o.significance:
        from ra.reporting.significance import write_significance

        write_significance(o.evaluations, o.save_dir, o.clusters)
    _record_best(o)


def _record_best(o: Table) -> None:
    """Register the best processor of each task under the data set's name, alias ``best-TASK``.

    The best has the highest mean accuracy by the recognizers that trained none of these processors.
    Who loads it gets its images, so one whose transformer was evaluated too does not compete.
    """
    rows = pd.concat([read_evaluations([p]).assign(place=p.parent) for p in o.evaluations])
    trained = {name for names in rows.training_r for name in names.split("+")}
    found = {
        place
        for place in rows.place.unique()
        if (place / "processor.safetensors").exists()
        and not (place / "transformer.safetensors").exists()
    }
    fair = ~rows.evaluation_r.isin(trained) & rows.metric.isin(["top1", "agreement"])
    rows = rows[fair & rows.place.isin(found)]
    if rows.empty:
        return
    with start_run("best processors", "table", {"evaluations": len(o.evaluations)}) as run:
        for (data, task), group in rows.groupby(["dataset", "task"]):
            means = group.groupby("place").value.mean()
            best = group[group.place == means.idxmax()].iloc[0]
            identity = best[["task", "p_model", "lambda", "training_r", "seed"]].to_dict()
            run.log_model(
                re.sub(r"[/:]", "-", data),  # the two characters a registry does not take
                [best.place / "processor.safetensors"],
                "the best processors of this data, by recognizers that trained none",
                {**identity, "accuracy": f"{means.max():.2f}"},
                alias="best-" + re.sub(r"[^\w-]", "-", task),
            )


def transfer_matrix(o: TransferMatrix) -> None:
    """Write the transfer matrix and table 1 of each task."""
    write_transfer(o.evaluations, o.save_dir, o.recognizers)


def report(o: Report) -> None:
    """Write report.html and its plots."""
    from ra.reporting.page import write_report

    write_report(o.evaluations, o.save_dir, o.data, o.significance, o.recognizers)
