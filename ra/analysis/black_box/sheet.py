"""A sheet for people: which of two answers describes the picture? Blind, and tested when filled."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from ra.analysis.command_settings import BlackBoxSheet
from ra.errors import UserError
from ra.evaluation.statistics import accuracy
from ra.files import atomic, write_csv
from ra.reporting.tables import write_markdown

MAGNIFIED = 256  # least side of a picture for people, pixels
VERDICTS = ("1", "2", "both", "neither")
IDENTITY = ["task", "training_r", "lambda", "index"]


def write_sheet(
    table: pd.DataFrame, pictures: Sequence[bytes], items: int, seed: int, save_dir: Path
) -> None:
    """Write sheet.csv (to be filled in), key.csv (not to be looked at) and the clean pictures.

    The sheet has images for which the answers to plain and recognition-aware processing differ,
    in random order; which answer is the first is drawn too. A person who sees picture and answers
    writes 1, 2, both or neither into ``better``.

    Args:
        table: a row per picture: IDENTITY, kind, answer.
        pictures: PNGs in the table's order.
        items: images on the sheet, at most.
    """
    draw = np.random.default_rng(seed)
    table = table.assign(row=range(len(table)))
    wide = table.pivot(index=IDENTITY, columns="kind", values=["answer", "row"])
    answers = wide["answer"].fillna("")
    differing = wide[answers.plain != answers.ra]
    differing = differing.iloc[draw.permutation(len(differing))[:items]]
    sheet, key = [], []
    for number, (identity, row) in enumerate(differing.iterrows(), 1):
        item = f"{number:03d}"
        kinds = ["plain", "ra"] if draw.random() < 0.5 else ["ra", "plain"]
        first, second = (_harmless(row["answer", kind]) for kind in kinds)
        sheet.append([item, f"pictures/{item}.png", first, second, ""])
        key.append([item, kinds[0], *identity])
        _magnify(pictures[int(row["row", "clean"])], save_dir / "pictures" / f"{item}.png")
    columns = ["item", "picture", "answer_1", "answer_2", "better"]
    write_csv(save_dir / "sheet.csv", pd.DataFrame(sheet, columns=columns))
    write_csv(save_dir / "key.csv", pd.DataFrame(key, columns=["item", "first", *IDENTITY]))


def _harmless(answer: object) -> object:
    """``answer``, behind an apostrophe where a spreadsheet would run it as a formula."""
    return f"'{answer}" if isinstance(answer, str) and answer[:1] in tuple("=+-@\t\r\n") else answer


def _magnify(png: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(png))
    times = max(1, -(-MAGNIFIED // min(image.size)))
    size = (image.width * times, image.height * times)
    with atomic(path) as temporary:
        image.resize(size, Image.Resampling.BICUBIC).save(temporary)


def read_sheet(sheet: Path, key: Path) -> pd.DataFrame:
    """Verdicts of a filled sheet, unblinded: IDENTITY and better.

    ``better`` is plain, ra, both or neither; items left empty are left out.

    Raises:
        UserError: a file that is not the sheet or the key, or an entry that is no verdict.
    """
    filled, secret = _read(sheet, "better"), _read(key, "first")
    if set(filled.item) ^ set(secret.item) or filled.item.duplicated().any():
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


def preferences(verdicts: pd.DataFrame) -> pd.DataFrame:
    """How often people preferred recognition-aware processing, per task and for all.

    Returns:
        task, ra, plain, both, neither (items), value (% ra of those with a winner) with its 95 %
        Wilson interval, n, and p of the exact two-sided sign test.
    """
    rows = []
    for task, part in [*verdicts.groupby("task", sort=False), ("all", verdicts)]:
        counts = {name: int((part.better == name).sum()) for name in ("ra", "plain")}
        decided = sum(counts.values())
        counts |= {name: int((part.better == name).sum()) for name in ("both", "neither")}
        row = {"task": task, **counts, "n": decided}
        if decided:
            won = part.better[part.better.isin(["ra", "plain"])] == "ra"
            row |= accuracy(won.astype(int)) | {"p": binomtest(counts["ra"], decided).pvalue}
        rows.append(row)
    return pd.DataFrame(rows)


def run_sheet(o: BlackBoxSheet) -> None:
    """Write preferences.csv and preferences.md from a filled sheet."""
    table = preferences(read_sheet(o.sheet, o.key))
    write_csv(o.save_dir / "preferences.csv", table)
    write_markdown(table, o.save_dir / "preferences.md", floatfmt=".3g")
