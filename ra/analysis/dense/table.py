"""Transfer between classifiers and a detector, in both directions, as tables and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ra.analysis.command_settings import DetectionTable
from ra.analysis.scores import load, score, shown, shown_p, shown_scores, spread
from ra.errors import UserError
from ra.evaluation.statistics import holm
from ra.files import write_csv, write_text
from ra.registry import NO_RECOGNIZER
from ra.reporting.names import model_names, recognizer_title, task_title
from ra.reporting.plots import panels, save

METRICS = {"map50": "mAP@0.5 (VOC)", "map": "mAP (COCO)"}
TITLES = {"clean": "clean", "no_processing": "no processing", "plain": "plain", "ra": "RA"}


def write_detection_tables(o: DetectionTable) -> None:
    """Write by_detector.csv, by_classifiers.csv, detection.md and detection.png."""
    by_detector = pd.concat(map(_read, o.detections), ignore_index=True)
    by_detector["p_holm"] = holm(by_detector.p)
    by_classifiers = score(load(o.evaluations))
    write_csv(o.save_dir / "by_detector.csv", by_detector)
    write_csv(o.save_dir / "by_classifiers.csv", by_classifiers)
    text = [
        "Evaluated by the detector; the difference is to the plain processor that was trained on "
        "the same images (95 % jackknife intervals over images):",
        _detector_rows(by_detector).to_markdown(index=False),
        "Trained on the detector's images, evaluated by classifiers (top-1, Wilson intervals; the "
        "difference is to plain, p is McNemar's):",
        _classifier_rows(by_classifiers).to_markdown(index=False),
    ]
    write_text(o.save_dir / "detection.md", "\n\n".join(text) + "\n")
    _draw(by_detector, by_classifiers, o.save_dir / "detection.png")


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if "metric" not in table or not set(table.metric) <= set(METRICS):
        raise UserError(f"{path}: not a table of mAP; give detection.csv files")
    return table.reindex(columns=list(dict.fromkeys([*table.columns, "difference", "p"])))


def title_of(identity: Mapping[str, str]) -> str:
    """``RA (ResNet-18) on embedded``."""
    title = TITLES.get(identity["p_model"], identity["p_model"])
    if identity["training_r"] != NO_RECOGNIZER:
        title += f" ({recognizer_title(identity['training_r'])})"
    trained_on = identity["trained_on"]
    return title + (f" on {trained_on}" if trained_on != NO_RECOGNIZER else "")


def _detector_rows(table: pd.DataFrame) -> pd.DataFrame:
    """A row per processor; value, difference and tests of each metric beside each other."""
    keys = {"Task": table.task.map(task_title), "P Model": table.apply(title_of, axis=1)}
    for column, title in (("lambda", "Lambda"), ("seed", "Seed"), ("evaluation_r", "R")):
        if table[table.p_model == "ra"][column].nunique() > 1:
            keys[title] = table[column]
    tests = {"p": shown_p(table), "p (Holm)": shown_p(table, "p_holm")}
    gain = shown(table, "difference", sign="+")
    cells = pd.DataFrame({"%": shown(table, "value"), "over plain": gain, **tests})
    parts = [
        cells[table.metric == metric].add_prefix(f"{title}: ").reset_index(drop=True)
        for metric, title in METRICS.items()  # the same processors in the same order
    ]
    identity = pd.DataFrame({**keys, "n": table.n})[table.metric == "map50"]
    return pd.concat([identity.reset_index(drop=True), *parts], axis=1)


def _classifier_rows(table: pd.DataFrame) -> pd.DataFrame:
    names = {"Task": table.task.map(task_title), "P Model": model_names(table)}
    names["R"] = table.evaluation_r.map(recognizer_title)
    return pd.DataFrame({**names, **shown_scores(table)})


def _draw(by_detector: pd.DataFrame, by_classifiers: pd.DataFrame, path: Path) -> None:
    """A row per task: mAP@0.5 of each processor on the left, top-1 of classifiers on the right."""
    tasks = list(by_detector.task.unique())
    figure, drawn = panels(2, width=4.6, height=3.8, rows=len(tasks))
    for task, left, right in zip(tasks, drawn[::2], drawn[1::2], strict=True):
        chosen = by_detector[(by_detector.task == task) & (by_detector.metric == "map50")]
        names = [title_of(row) for row in chosen.to_dict("records")]
        left.barh(names, chosen.value, color="C0")
        look = {"fmt": "none", "ecolor": "black", "capsize": 3}
        left.errorbar(chosen.value, names, xerr=spread(chosen, "value"), **look)
        left.invert_yaxis()
        left.set_xlabel("mAP@0.5 of the detector, %")
        left.set_title(f"{task}: evaluated by the detector", fontsize=9)
        rows = by_classifiers[by_classifiers.task == task]
        for place, ((p_model, _), one) in enumerate(rows.groupby(["p_model", "training_r"])):
            x = [i + 0.2 * place for i in range(len(one))]
            look = {"fmt": "o", "capsize": 3, "label": p_model}
            right.errorbar(x, one.top1, spread(one, "top1"), **look)
            right.set_xticks(range(len(one)), one.evaluation_r, rotation=20, ha="right")
        right.set_ylabel("top-1, %")
        right.set_title(f"{task}: trained with the detector", fontsize=9)
        right.legend(fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.08))
    save(figure, path)
