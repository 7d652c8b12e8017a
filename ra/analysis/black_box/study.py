"""A black box labels the same images, plain and recognition-aware (method.md, 5)."""

import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image
from torch import Tensor

from ra.analysis.black_box.cache import AnswerCache
from ra.analysis.black_box.client import Command, Endpoint
from ra.analysis.black_box.sheet import write_sheet
from ra.analysis.command_settings import BlackBox
from ra.analysis.outputs import draw_images, outputs, shared_task
from ra.analysis.scores import shown
from ra.data.dataset import require_labels
from ra.data.splits import open_split
from ra.errors import UserError
from ra.evaluation.statistics import accuracy, compare, mean, over_seeds
from ra.files import write_csv, write_text
from ra.progress import Progress
from ra.reporting.names import recognizer_title, task_title
from ra.runtime.devices import use_device

KINDS = {"clean": "clean", "no_processing": "no processing", "plain": "plain", "ra": "RA"}
KEYS = ["task", "training_r", "lambda"]
TITLES = {
    "agreement": ("%", "only RA : only plain", "p (McNemar)"),
    "cer": ("CER, %", "RA lower : plain lower", "p (paired t)"),
}


def png(image: Tensor) -> bytes:
    """(3, H, W) in [0, 1] -> the bytes of a PNG, the same ones each time."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def run_black_box(o: BlackBox) -> str:
    """Write answers.csv, agreement.csv, agreement.md and the sheet for people."""
    if len(o.plain) != len(o.ra):
        raise UserError(f"--plain: {len(o.plain)} files for {len(o.ra)} of --ra; give pairs")
    box = service(o)
    split = open_split(**dict(o.source), split="val")
    if "label" in o.against:
        require_labels(split.info, "--against label")
    chosen = draw_images(len(split), o.images, o.seed)
    rows, pictures = [], []
    with use_device(o.machine) as where:
        for pair in zip(o.ra, o.plain, strict=True):
            headers, task = shared_task(pair, also=["dataset"])
            identity = [headers[0][key] for key in ("task", "recognizer", "lambda")]
            for batch, made in outputs(split, task, [None, *pair[::-1]], chosen, where):
                views = dict(zip(KINDS, [batch.target, *made], strict=True))
                for position, index in enumerate(batch.index.tolist()):
                    name = split.info.classes[split.labels[index]] if split.info.classes else ""
                    rows += [[*identity, index, split.paths[index], name, kind] for kind in views]
                    pictures += [png(view[position]) for view in views.values()]
    cache = AnswerCache(box, o.cache or o.save_dir / "cache")
    labels = cache.labels(pictures, lambda items: Progress(items, name="black box", unit="image"))
    text = o.answers == "text"
    table = pd.DataFrame(rows, columns=[*KEYS, "index", "path", "label", "kind"])
    table["answer"] = [" ".join((one or "").split()) if text else one or None for one in labels]
    table["class"] = as_classes(table.answer, o.classes)
    agreeing = agreement(table, o.against, text)
    write_csv(o.save_dir / "answers.csv", table)
    write_csv(o.save_dir / "agreement.csv", agreeing)
    parts = [readable(part) for _, part in agreeing.groupby("measure", sort=False)]
    tables = "\n\n".join(part.to_markdown(index=False) for part in parts)
    write_text(o.save_dir / "agreement.md", tables + "\n")
    write_sheet(table, pictures, o.sheet_images, o.seed, o.save_dir)
    known = len(set(pictures)) - cache.sent
    return f"{cache.sent} images sent, {known} answers from {cache.folder.parent}"


def service(o: BlackBox) -> Command | Endpoint:
    """The program or the endpoint that the settings describe."""
    if bool(o.url) == bool(o.program):
        raise UserError("--url and --command: give one of them")
    if o.program:
        return Command(tuple(shlex.split(o.program)), o.batch, max(o.timeout, 600.0))
    return Endpoint(o)


def as_classes(answers: pd.Series, mapping: Path | None) -> pd.Series:
    """The class name that each answer means; one that means none stays as it is."""
    if mapping is None:
        return answers
    try:
        found = yaml.safe_load(mapping.read_text(encoding="utf-8"))
        table = {str(answer): str(name) for answer, name in found.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        raise UserError(f"{mapping}: not a mapping from answers to class names") from None
    return answers.map(lambda answer: table.get(answer, answer))


def agreement(table: pd.DataFrame, against: Sequence[str], text: bool = False) -> pd.DataFrame:
    """Share of agreeing answers (%), with a 95 % Wilson interval, per pair and kind of image.

    Args:
        table: KEYS, index, kind, label, answer, class; a row per image and kind, all kinds of an
            image present.
        text: answers are text, "" where none was found. The mean of ``error_rates`` is a second
            measure, cer. Images whose clean answer is empty are not compared with it.

    Returns:
        measure, KEYS, against, kind, value, low, high, n; for kind ``ra`` also only_ra and
        only_plain (images on which that one agrees and the other does not, or has the lower rate),
        difference to plain, difference_low, difference_high, and p: McNemar's exact test, or with
        cer the paired t test.

    Raises:
        UserError: the answers to all clean images are empty.
    """
    rows = []
    for keys, part in table.groupby(KEYS, sort=False):
        every = part.pivot(index="index", columns="kind", values=["answer", "class"])
        label = part.drop_duplicates("index").set_index("index").label
        for target in against:
            wide = every[every["answer", "clean"] != ""] if target == "clean" else every
            if wide.empty:
                raise UserError("--against clean: the black box found no text in any clean image")
            given, truth = wide["class"], label.loc[wide.index]
            if target == "clean":
                given, truth = wide["answer"], wide["answer", "clean"]
            kinds = [kind for kind in KINDS if (target, kind) != ("clean", "clean")]  # with itself
            hits = {kind: (given[kind] == truth) & given[kind].notna() for kind in kinds}
            measures: dict[str, Any] = {"agreement": (hits, accuracy)}
            if text:
                measures["cer"] = ({kind: error_rates(given[kind], truth) for kind in kinds}, mean)
            for measure, (scores, summary) in measures.items():
                row = {"measure": measure, **dict(zip(KEYS, keys, strict=True)), "against": target}
                rows += [row | {"kind": kind} | summary(scores[kind]) for kind in kinds]
                rows[-1] |= _paired(measure, scores["ra"], scores["plain"])  # that of ra
    return pd.DataFrame(rows)


def error_rates(answers: pd.Series, truth: pd.Series) -> pd.Series:
    """Characters to insert, delete or replace for the true text, % of its length; above 100 too."""
    from torchmetrics.functional.text import char_error_rate

    pairs = zip(answers, truth, strict=True)
    return pd.Series([100 * char_error_rate(a, t).item() for a, t in pairs], index=truth.index)


def _paired(measure: str, ra: pd.Series, plain: pd.Series) -> dict[str, float]:
    if measure == "agreement":
        better, worse, test = ra & ~plain, plain & ~ra, compare(ra, plain)
    else:
        better, worse, test = ra < plain, ra > plain, over_seeds((ra - plain).tolist())
    ends = {f"difference_{end}": test[end] for end in ("low", "high")}
    counts = {"only_ra": better.sum(), "only_plain": worse.sum()}
    return {**counts, "difference": test["difference"], **ends, "p": test["p"]}


def readable(agreeing: pd.DataFrame) -> pd.DataFrame:
    """A row per pair and target: one measure of every kind with its interval, and the test."""
    unit, only, test = TITLES[agreeing.measure.iloc[0]]
    rows = []
    for keys, part in agreeing.groupby([*KEYS, "against"], sort=False):
        row = dict(zip(["Task", "Training R", "lambda", "against"], keys, strict=True))
        row |= {"Task": task_title(keys[0]), "Training R": recognizer_title(keys[1])}
        row |= dict(zip(part.kind.map(KINDS) + f" ({unit})", shown(part, "value"), strict=True))
        ra = part.iloc[-1]
        row |= {"n": ra.n, only: f"{ra.only_ra:.0f} : {ra.only_plain:.0f}"}
        if unit != "%":
            row["RA - plain"] = shown(part, "difference", sign="+").iloc[-1]
        rows.append(row | {test: f"{ra.p:.3g}"})
    return pd.DataFrame(rows).fillna("-")
