"""Two data sets, each with half of the classes of one (method.md, "Further experiments", 3)."""

import csv
import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ra.analysis.command_settings import SplitClasses
from ra.data.dataset import DatasetInfo, read_info
from ra.data.folders import SPLITS
from ra.data.prepare import COLUMNS, write_row
from ra.errors import UserError
from ra.files import atomic, escaped, write_json
from ra.progress import say

HALVES = ("A", "B")


def split_classes(o: SplitClasses) -> None:
    """Write the halves A and B of a prepared data set: A/data and B/data in ``save_dir``.

    Each is a prepared data set with half of the classes (A has one more where their number is
    odd), and shares the pixels of the whole one. halves.json lists the classes of each.
    """
    info = read_info(o.data)
    if len(info.classes) < 4:
        raise UserError(f"{o.data}: has {len(info.classes)} classes; halves need at least 4")
    order = np.random.default_rng(o.seed).permutation(len(info.classes))
    middle = -(-len(order) // 2)
    parts = zip(HALVES, (order[:middle], order[middle:]), strict=True)
    halves = {half: sorted(info.classes[label] for label in labels) for half, labels in parts}
    for half, classes in halves.items():
        _write_half(o.data, info, half, classes, o.save_dir / half / "data")
        say(escaped(f"{half}: {', '.join(classes)}"))
    write_json(o.save_dir / "halves.json", {"seed": o.seed, "data_digest": info.digest, **halves})


def _write_half(data: Path, info: DatasetInfo, half: str, classes: list[str], out: Path) -> None:
    labels = {info.classes.index(name): label for label, name in enumerate(classes)}
    counts = {}
    for split in SPLITS:
        with open(data / f"{split}.csv", newline="", encoding="utf-8") as rows:
            kept = [row for row in csv.DictReader(rows) if int(row["label"]) in labels]
        with atomic(out / f"{split}.csv") as temporary:
            with open(temporary, "w", newline="", encoding="utf-8") as rows:
                write_row(rows, COLUMNS)
                for row in kept:
                    row["label"] = labels[int(row["label"])]
                    write_row(rows, row.values())
        counts[split] = len(kept)
        if info.decoded:
            _share(data / f"{split}.bin", out / f"{split}.bin")
    digest = hashlib.sha256(json.dumps([info.digest, classes]).encode()).hexdigest()
    name = f"{info.name}-{half}"
    own = replace(info, name=name, classes=tuple(classes), images=counts, digest=digest)
    write_json(out / "dataset.json", asdict(own))


def _share(pixels: Path, link: Path) -> None:
    """A hard link, so that preparing the whole again never changes the pixels of a half."""
    with atomic(link) as temporary:
        try:
            os.link(pixels, temporary)
        except OSError:  # a file system without hard links
            temporary.symlink_to(pixels.resolve())
