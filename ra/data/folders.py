"""Classes and labelled images of a folder with train/CLASS/ and val/CLASS/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ra.data.images import EXTENSIONS, find_files, is_listed
from ra.errors import UserError
from ra.files import escaped

SPLITS = ("train", "val")
NOT_UTF8 = "the name is not UTF-8; rename it"


def find_classes(root: Path) -> list[str]:
    """Class names, sorted: the folders below ``root``/train, which must equal those of val."""
    found = {}
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; a data set has train/CLASS/ and val/CLASS/ with images"
            )
        entries = [entry for entry in os.scandir(folder) if is_listed(entry.name)]
        found[split] = {entry.name for entry in entries if os.path.isdir(entry.path)}
        if not found[split]:
            raise UserError(f"{folder}: no class folder in it; expected {split}/CLASS/image.jpg")
        for name in found[split]:
            if not is_utf8(name):
                raise UserError(f"{folder / escaped(name)}: {NOT_UTF8}")
    for here, there in (("train", "val"), ("val", "train")):
        missing = sorted(found[here] - found[there])
        if missing:
            names = _some(missing)
            raise UserError(f"{root}: in {here}/ but not in {there}/: {names}; add or remove them")
    return sorted(found["train"])


def find_images(root: Path, split: str, classes: list[str]) -> list[tuple[str, int]]:
    """(path relative to root, label) of every image, in one order on every machine.

    Says on stderr how many files of other formats are left out.
    """
    found, left_out = [], []
    for label, name in enumerate(classes):
        images, others = find_files(root / split / name)
        if not images:
            raise UserError(f"{root / split / name}: no image in it ({', '.join(EXTENSIONS)})")
        found += [(f"{split}/{name}/{path}", label) for path in images]
        left_out += [f"{split}/{name}/{path}" for path in others]
    if left_out:
        names = _some(left_out)
        print(
            f"left out {len(left_out)} files in {root} that are no images: {names}", file=sys.stderr
        )
    return found


def is_utf8(name: str) -> bool:
    """Whether all bytes of a file's name are UTF-8, so that it can be written into tables."""
    try:
        name.encode()
    except UnicodeEncodeError:  # Python decodes other bytes of a name to lone surrogates
        return False
    return True


def _some(paths: list[str]) -> str:
    """The first five of ``paths``."""
    return ", ".join(escaped(path) for path in paths[:5]) + (", …" if len(paths) > 5 else "")
