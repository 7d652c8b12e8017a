"""`ra table`, `ra transfer-matrix` and `ra report`: what is made of evaluations."""

import re
from pathlib import Path

import pandas as pd

from ra.jobs.record import run_name
from ra.jobs.training import run_id_in
from ra.reporting.names import HEADLINES, PLAIN
from ra.reporting.tables import IDENTITY, read_evaluations, write_tables, write_transfer
from ra.settings.commands import Report, Table, TransferMatrix
from ra.tracking.run import start_run


def table(o: Table) -> None:
    """Write the paper's tables and, if wanted, the paired tests; record each task's best."""
    write_tables(o.evaluations, o.save_dir, o.recognizers, o.paper)
    if o.significance:
        from ra.reporting.significance import write_significance

        write_significance(o.evaluations, o.save_dir, o.clusters)
    _record(o)


def _record(o: Table) -> None:
    """Record what came out: beside each training, for all in one run, and the best as models.

    That is the mean accuracy by the recognizers that trained none of these processors, the gain
    over plain of that seed, and PSNR. The best processor of a task is registered under the data
    set's name, alias ``best-TASK``. Who loads it gets its images, so one whose transformer was
    evaluated too does not compete.
    """
    rows = pd.concat([read_evaluations([p]).assign(place=p.parent) for p in o.evaluations])
    trained = {name for names in rows.training_r for name in names.split("+")}
    fair = rows[~rows.evaluation_r.isin(trained) & rows.metric.isin(HEADLINES)]
    if fair.empty:
        return
    scores = fair.groupby(["place", *IDENTITY], as_index=False).value.mean()
    plain = scores[scores.p_model == PLAIN].set_index(["task", "seed"]).value
    psnr = rows[rows.metric == "psnr"].set_index("place").value
    about = {
        "mlflow.note.content": "The processors of these tables, by recognizers that trained none"
    }
    with start_run("tables", "table", {"evaluations": len(o.evaluations)}, about) as run:
        for row in scores.to_dict("records"):
            found, same = {"unseen_accuracy": row["value"]}, (row["task"], row["seed"])
            found |= {"gain_over_plain": row["value"] - plain[same]} if same in plain else {}
            found |= {"psnr": psnr[row["place"]]} if row["place"] in psnr else {}
            name = run_name(*(row[key] for key in IDENTITY[1:]))
            run.log_metrics({f"{name}/{key}": value for key, value in found.items()})
            if training := run_id_in(row["place"]):
                run.log_headline(training, found)
        for task, group in scores[scores.place.map(_stands_alone)].groupby("task"):
            best = group.loc[group.value.idxmax()]
            identity = best[IDENTITY[1:]].to_dict()
            run.log_model(
                re.sub(r"[/:]", "-", best.dataset),  # the two characters a registry does not take
                [best.place / "processor.safetensors"],
                "the best processors of this data, by recognizers that trained none",
                {**identity, "accuracy": f"{best.value:.2f}"},
                alias="best-" + re.sub(r"[^\w-]", "-", task),
            )


def _stands_alone(place: Path) -> bool:
    files = [(place / f"{kind}.safetensors").exists() for kind in ("processor", "transformer")]
    return files == [True, False]


def transfer_matrix(o: TransferMatrix) -> None:
    """Write the transfer matrix and table 1 of each task."""
    write_transfer(o.evaluations, o.save_dir, o.recognizers)


def report(o: Report) -> None:
    """Write report.html and its plots."""
    from ra.reporting.page import write_report

    write_report(o.evaluations, o.save_dir, o.data, o.significance, o.recognizers)
