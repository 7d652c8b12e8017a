"""A sheet for people: which of two answers describes the picture? Blind, and read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from ra.errors import UserError
from ra.evaluation.evaluate import accuracy
from ra.files import atomic, write_text

MAGNIFIED = 256  # least side of a picture for people, pixels
VERDICTS = ("1", "2", "both", "neither")


def write_sheet(
    table: pd.DataFrame, pictures: Sequence[bytes], judged: int, seed: int, save_dir: Path
) -> None:
    """Write sheet.csv (to be filled in), key.csv (not to be looked at) and the clean pictures.

    On the sheet are images on which the black box answers differently for plain and for RA P, in
    random order; which answer is the first is drawn too. A person who sees picture and answers
    writes 1, 2, both or neither into ``better``.

    Args:
        table: a row per picture: task, training_r, lambda, index, kind, answer.
        pictures: PNGs in the table's order.
    """
    draw = np.random.default_rng(seed)
    table = table.assign(row=range(len(table)))
    wide = table.pivot(
        index=["task", "training_r", "lambda", "index"], columns="kind", values=["answer", "row"]
    )
    answers = wide["answer"].fillna("")
    differing = wide[answers.plain != answers.ra]
    differing = differing.iloc[draw.permutation(len(differing))[:judged]]
    sheet, key = [], []
    for number, (identity, row) in enumerate(differing.iterrows(), 1):
        item = f"{number:03d}"
        kinds = ["plain", "ra"] if draw.random() < 0.5 else ["ra", "plain"]
        first, second = (row["answer", kind] for kind in kinds)
        sheet.append({"item": item, "picture": f"pictures/{item}.png"})
        sheet[-1] |= {"answer_1": first, "answer_2": second, "better": ""}
        key.append(
            {"item": item, "first": kinds[0], **dict(zip(wide.index.names, identity, strict=True))}
        )
        _magnify(pictures[int(row["row", "clean"])], save_dir / "pictures" / f"{item}.png")
    columns = ["item", "picture", "answer_1", "answer_2", "better"]
    names = ["item", "first", *wide.index.names]
    for name, rows, head in (("sheet", sheet, columns), ("key", key, names)):
        with atomic(save_dir / f"{name}.csv") as temporary:
            pd.DataFrame(rows, columns=head).to_csv(temporary, index=False)


def _magnify(png: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(png))
    times = max(1, -(-MAGNIFIED // min(image.size)))
    size = (image.width * times, image.height * times)
    with atomic(path) as temporary:
        image.resize(size, Image.Resampling.BICUBIC).save(temporary)


def read_sheet(sheet: Path, key: Path) -> pd.DataFrame:
    """Verdicts of a filled sheet, unblinded: task, training_r, lambda, index, better.

    ``better`` is plain, ra, both or neither; items left empty are left out.

    Raises:
        UserError: a file that is not the sheet or the key, or an entry that is no verdict.
    """
    filled, secret = (_read(path, needed) for path, needed in ((sheet, "better"), (key, "first")))
    unknown = set(filled.item) ^ set(secret.item)
    if unknown or filled.item.duplicated().any():
        raise UserError(f"{sheet}: its items are not those of {key}; was it made by the same run?")
    both = secret.merge(filled[["item", "better"]], on="item", how="inner")
    both["better"] = both.better.str.strip().str.lower()
    wrong = both[~both.better.isin([*VERDICTS, ""])]
    if len(wrong):
        row = wrong.iloc[0]
        raise UserError(
            f"{sheet}: item {row['item']}: better is '{row.better}'; write one of "
            f"{', '.join(VERDICTS)}, or leave it empty"
        )
    both = both[both.better != ""]
    second = both["first"].map({"plain": "ra", "ra": "plain"})
    both["better"] = both.better.mask(both.better == "1", both["first"])
    both["better"] = both.better.mask(both.better == "2", second)
    return both.drop(columns=["item", "first"])


def _read(path: Path, column: str) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not {"item", column} <= set(frame.columns):
        raise UserError(f"{path}: no columns item and {column}; not written by ra black-box")
    return frame


def judge(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Per task (and for all): how often RA was judged better, among those where one was.

    Returns:
        task, ra, plain, both, neither (items), value (% RA of those with a winner) with its 95 %
        Wilson interval, n, and p of the exact two-sided sign test.
    """
    parts = [*verdicts.groupby("task", sort=False), ("all", verdicts)]
    rows = []
    for task, part in parts:
        counts = {name: int((part.better == name).sum()) for name in ("ra", "plain")}
        counts |= {name: int((part.better == name).sum()) for name in ("both", "neither")}
        decided = part[part.better.isin(["ra", "plain"])]
        row = {"task": task, **counts, "n": len(decided)}
        if len(decided):
            row |= accuracy((decided.better == "ra").astype(int))
            row["p"] = binomtest(counts["ra"], len(decided)).pvalue
        rows.append(row)
    return pd.DataFrame(rows)


def run_sheet(sheet: Path, key: Path, save_dir: Path) -> None:
    """Write judged.csv and judged.md from a filled sheet."""
    table = judge(read_sheet(sheet, key))
    with atomic(save_dir / "judged.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_text(save_dir / "judged.md", table.to_markdown(index=False, floatfmt=".3g") + "\n")
