"""Beyond the paper: ensembles, other objectives, a second processor, recognizers that learn the
processed images."""

from pathlib import Path

import pandas as pd

from ra.analysis.command_settings import Extras
from ra.analysis.scores import (
    Labels,
    load,
    plain_of,
    quality_in,
    score,
    shown,
    shown_p,
    shown_quality,
    shown_scores,
    spread,
    write_scores,
)
from ra.errors import UserError
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import measure_title, p_model_title, recognizer_title, task_title
from ra.reporting.plots import panels, save


def write_extras(o: Extras) -> None:
    """Write extras.csv, .md and .png.

    A processor is compared with the plain one of its task and group, or of the first group where
    its own has none, and with the recognition-aware one that is named first; a plain one with that
    of the first group.
    """
    known = []
    for name, *paths in o.group:
        if not paths:
            raise UserError(f"--group {name}: no evaluation.csv behind the name")
        known += load(list(map(Path, paths)), group=name)
    first = o.group[0][0]
    aware = next((labels for labels, _ in known if labels["p_model"] == "ra"), None)

    with_plain = {labels["group"] for labels, _ in known if labels["p_model"] == "plain"}

    def plain(labels: Labels) -> Labels:
        own = labels["p_model"] != "plain" and labels["group"] in with_plain
        return {**plain_of(labels), "group": labels["group"] if own else first}

    def ra(labels: Labels) -> Labels | None:
        if aware is None or labels["p_model"] == "plain":
            return None
        theirs = {key: aware[key] for key in ("p_model", "lambda", "training_r")}
        return {**labels, **theirs, "group": plain(labels)["group"]}

    table = score(known, plain)
    over_ra = score(known, ra)[["difference", "difference_low", "difference_high", "p", "p_holm"]]
    table = table.join(over_ra.add_prefix("ra_"))
    write_scores(table, _readable(table), o.save_dir / "extras.csv")
    _draw(table, o.save_dir / "extras.png")


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """One row per processor and recognizer, in the order of the evaluations."""
    return pd.DataFrame(
        {
            "Task": table.task.map(task_title),
            "Group": table.group,
            "P Model": table.p_model.map(p_model_title),
            "Training R": table.training_r.map(recognizer_title),
            **{measure_title(m): shown_quality(table, m, False) for m in quality_in(table)},
            "R": table.evaluation_r.map(recognizer_title),
            **shown_scores(table),
            "over RA [95 %]": shown(table, "ra_difference", sign="+"),
            "p over RA": shown_p(table, "ra_p"),
            "p over RA (Holm)": shown_p(table, "ra_p_holm"),
        }
    )


def _draw(table: pd.DataFrame, path: Path) -> None:
    """Per task one line of points per processor: top-1 of every recognizer with its interval."""
    tasks = list(table.task.unique())
    figure, drawn = panels(len(tasks), width=6.5, height=4.2)
    for axes, task in zip(drawn, tasks, strict=True):
        here = table[table.task == task]
        recognizers = list(here.evaluation_r.unique())
        models = list(here.groupby(["group", "p_model", "training_r"], sort=False))
        for number, ((group, p_model, training_r), rows) in enumerate(models):
            x = rows.evaluation_r.map(recognizers.index) + 0.8 * number / len(models)
            label = " ".join(part for part in (group, p_model, training_r) if part != NO_RECOGNIZER)
            axes.errorbar(x, rows.score, spread(rows, "score"), fmt="o", label=label)
        axes.set_xticks(range(len(recognizers)), recognizers, rotation=15)
        axes.set_ylabel("top-1, %")
        axes.set_title(task)
    drawn[0].legend(fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.28))
    save(figure, path)
