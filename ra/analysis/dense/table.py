"""Transfer between classifiers and a detector, in both directions, as tables and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ra.analysis.dense.figures import title_of
from ra.analysis.scores import load, score, shown, shown_p
from ra.errors import UserError
from ra.files import atomic, write_text
from ra.reporting.names import model_names
from ra.reporting.plots import panels, save

METRICS = {"map50": "mAP@0.5 (VOC)", "map": "mAP (COCO)"}


def write_detection_tables(
    detections: Sequence[Path], evaluations: Sequence[Path], out: Path
) -> None:
    """Write by_detector.csv, by_classifiers.csv, detection.md and detection.png into ``out``.

    Args:
        detections: detection.csv files: P's judged by a detector.
        evaluations: evaluation.csv files of P's trained on the detector's images, and of no
            processing, judged by classifiers.
    """
    by_detector = _read(detections)
    by_classifiers = score(load(evaluations))
    for name, table in (("by_detector", by_detector), ("by_classifiers", by_classifiers)):
        with atomic(out / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    text = [
        "P's judged by the detector; the difference is to the plain P that was trained on the "
        "same images (95 % bootstrap intervals over images):",
        _detector_rows(by_detector).to_markdown(index=False),
        "P's that were trained on the detector's images, judged by classifiers (top-1, Wilson "
        "intervals; the difference is to plain, p is McNemar's):",
        _classifier_rows(by_classifiers).to_markdown(index=False),
    ]
    write_text(out / "detection.md", "\n\n".join(text) + "\n")
    _draw(by_detector, by_classifiers, out / "detection.png")


def _read(paths: Sequence[Path]) -> pd.DataFrame:
    frames = []
    for path in paths:
        try:
            frames.append(pd.read_csv(path, keep_default_na=False, na_values=[""]))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
        if "metric" not in frames[-1] or not set(frames[-1].metric) <= set(METRICS):
            raise UserError(f"{path}: not written by ra judge-detection")
    return pd.concat(frames, ignore_index=True)


def _detector_rows(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for keys, part in table.groupby(["task", "evaluation_r", "seed"], sort=False):
        of_p = ["trained_on", "p_model", "lambda", "training_r"]
        for _, one in part.groupby(of_p, sort=False):
            row = {"Task": keys[0], "P Model": title_of(one.iloc[0].to_dict())}
            row |= {"Seed": keys[2]} if table.seed.nunique() > 1 else {}
            for metric, name in METRICS.items():
                found = one[one.metric == metric].iloc[0]
                row[f"{name}, %"] = f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"
                row[f"{name}: over plain"] = _difference(found)
            rows.append(row | {"n": int(one.n.iloc[0])})
    return pd.DataFrame(rows)


def _difference(found: pd.Series) -> str:
    if pd.isna(found.difference):
        return ""
    low, high = found.difference_low, found.difference_high
    return f"{found.difference:+.1f} [{low:+.1f}, {high:+.1f}], p {found.p:.2g}"


def _classifier_rows(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Task": table.task,
            "P Model": model_names(table),
            "R": table.evaluation_r,
            "top-1, % [95 %]": shown(table, "top1"),
            "over plain [95 %]": shown(table, "difference", sign="+"),
            "p": shown_p(table),
            "n": table.n,
        }
    )


def _draw(by_detector: pd.DataFrame, by_classifiers: pd.DataFrame, path: Path) -> None:
    """A row per task: mAP@0.5 of each P on the left, top-1 of each classifier on the right."""
    tasks = list(by_detector.task.unique())
    figure, drawn = panels(2, width=4.6, height=3.8, rows=len(tasks))
    for number, task in enumerate(tasks):
        left, right = drawn[2 * number : 2 * number + 2]
        chosen = by_detector[(by_detector.task == task) & (by_detector.metric == "map50")]
        names = [title_of(row) for row in chosen.to_dict("records")]
        left.barh(names, chosen.value, color="C0")
        spread = [chosen.value - chosen.low, chosen.high - chosen.value]
        left.errorbar(chosen.value, names, xerr=spread, fmt="none", ecolor="black", capsize=3)
        left.invert_yaxis()
        left.set_xlabel("mAP@0.5 of the detector, %")
        left.set_title(f"{task}: judged by the detector", fontsize=9)
        judged = by_classifiers[by_classifiers.task == task]
        for place, ((p_model, _), rows) in enumerate(judged.groupby(["p_model", "training_r"])):
            x = [i + 0.2 * place for i in range(len(rows))]
            error = [rows.top1 - rows.top1_low, rows.top1_high - rows.top1]
            right.errorbar(x, rows.top1, error, fmt="o", capsize=3, label=p_model)
            right.set_xticks(range(len(rows)), rows.evaluation_r, rotation=20, ha="right")
        right.set_ylabel("top-1, %")
        right.set_title(f"{task}: trained with the detector", fontsize=9)
        right.legend(fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.08))
    save(figure, path)
