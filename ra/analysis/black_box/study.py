"""The study of a black box: the same images plain and recognition-aware (method.md, 5)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from torch import Tensor

from ra.analysis.black_box.cache import AnswerCache
from ra.analysis.black_box.client import Command, Endpoint
from ra.analysis.black_box.sheet import write_sheet
from ra.analysis.restored import chosen_images, restored, task_of
from ra.errors import UserError
from ra.evaluation.evaluate import accuracy
from ra.evaluation.statistics import mcnemar
from ra.files import atomic, write_text
from ra.jobs.common import Device, Source
from ra.progress import Progress

KINDS = ("clean", "no_processing", "plain", "ra")
AGAINST = ("label", "clean")
KEYS = ["task", "training_r", "lambda"]


def png(image: Tensor) -> bytes:
    """(3, H, W) in [0, 1] -> the bytes of a PNG, the same ones each time."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def run_black_box(
    source: Source,
    plain: Sequence[Path],
    aware: Sequence[Path],
    box: Endpoint | Command,
    images: int,
    against: Sequence[str],
    classes: Path | None,
    judged: int,
    seed: int,
    device: Device,
    cache: Path,
    save_dir: Path,
) -> None:
    """Ask the black box; write answers.csv, agreement.csv, agreement.md and the sheet.

    Args:
        plain, aware: P's, pair by pair: of one task each.
        images: validation images, drawn by ``seed``.
        against: what an answer is held against: the ``label``, or its own answer on the
            ``clean`` image.
        classes: YAML that maps answers to class names; None takes them for class names.
        judged: images on the sheet for people, of those where plain and RA differ.
        cache: folder of answers that were got before.
    """
    if len(plain) != len(aware):
        raise UserError(f"--plain: {len(plain)} files for {len(aware)} of --ra; give them in pairs")
    split = source.open("val")
    chosen = chosen_images(len(split), images, seed)
    rows, pictures = [], []
    with device.use() as where:
        for pair in zip(aware, plain, strict=True):
            header, task = task_of(pair)
            keys = {"task": header["task"], "training_r": header["recognizer"]}
            keys["lambda"] = header["lambda"]
            for batch, outputs in restored(split, task, [None, *pair[::-1]], chosen, where):
                shown = dict(zip(KINDS, [batch.target, *outputs], strict=True))
                for position, index in enumerate(batch.index.tolist()):
                    name = split.info.classes[split.labels[index]]
                    common = {**keys, "index": index, "path": split.paths[index], "label": name}
                    rows += [{**common, "kind": kind} for kind in KINDS]
                    pictures += [png(shown[kind][position]) for kind in KINDS]
    store = AnswerCache(box, cache)
    answers = store.labels(pictures, lambda items: Progress(items, name="black box", unit="image"))
    table = pd.DataFrame(rows).assign(answer=answers)
    table["class"] = as_classes(table.answer, classes)
    held = agreement(table, against)
    for name, frame in (("answers", table), ("agreement", held)):
        with atomic(save_dir / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_text(save_dir / "agreement.md", as_markdown(held))
    write_sheet(table, pictures, judged, seed, save_dir)
    print(f"{store.sent} images sent, {len(set(pictures)) - store.sent} answers from {cache}")


def as_classes(answers: pd.Series, mapping: Path | None) -> pd.Series:
    """The class name that each answer means; one that means none stays as it is."""
    if mapping is None:
        return answers
    try:
        table = yaml.safe_load(mapping.read_text(encoding="utf-8"))
        table = {str(answer): str(name) for answer, name in table.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        raise UserError(f"{mapping}: not a mapping from answers to class names") from None
    return answers.map(lambda answer: table.get(answer, answer))


def agreement(table: pd.DataFrame, against: Sequence[str]) -> pd.DataFrame:
    """Share of agreeing answers (%), with a 95 % Wilson interval, per P pair and kind of image.

    Args:
        table: task, training_r, lambda, index, kind, label, answer, class; a row per image and
            kind, all kinds of an image present.

    Returns:
        Rows with against, kind, value, low, high, n; those of RA also with only_ra and only_plain
        (images on which only that one agrees) and p of McNemar's exact test between the two.
    """
    rows = []
    for keys, part in table.groupby(KEYS, sort=False):
        wide = part.pivot(index="index", columns="kind", values=["answer", "class"])
        label = part.drop_duplicates("index").set_index("index").label.loc[wide.index]
        for target in against:
            hits = {}
            for kind in KINDS:
                given, truth = (
                    (wide["class", kind], label)
                    if target == "label"
                    else (wide["answer", kind], wide["answer", "clean"])
                )
                hits[kind] = (given == truth) & given.notna()
            for kind in KINDS:
                if (target, kind) != ("clean", "clean"):  # it agrees with itself
                    row = dict(zip(KEYS, keys, strict=True), against=target, kind=kind)
                    row |= accuracy(hits[kind])
                    rows.append(row | (_paired(hits) if kind == "ra" else {}))
    return pd.DataFrame(rows)


def _paired(hits: dict[str, pd.Series]) -> dict[str, float]:
    test = mcnemar(hits["ra"].to_numpy(), hits["plain"].to_numpy())
    only_ra = int(np.sum(hits["ra"] & ~hits["plain"]))
    only_plain = int(np.sum(hits["plain"] & ~hits["ra"]))
    return {"only_ra": only_ra, "only_plain": only_plain, "p": test}


def as_markdown(held: pd.DataFrame) -> str:
    """One row per P pair and target: agreement of every kind with its interval, and the test."""
    names = {"clean": "clean", "no_processing": "no processing", "plain": "plain", "ra": "RA"}
    rows = []
    for keys, part in held.groupby([*KEYS, "against"], sort=False):
        row = dict(zip(["task", "training R", "lambda", "against"], keys, strict=True))
        for kind, one in part.set_index("kind").iterrows():
            row[f"{names[kind]} (%)"] = f"{one.value:.1f} [{one.low:.1f}, {one.high:.1f}]"
        ra = part[part.kind == "ra"].iloc[0]
        rows.append(
            row | {"n": ra.n, "only RA : only plain": f"{ra.only_ra:.0f} : {ra.only_plain:.0f}"}
        )
        rows[-1]["p (McNemar)"] = f"{ra.p:.3g}"
    return pd.DataFrame(rows).fillna("-").to_markdown(index=False) + "\n"
