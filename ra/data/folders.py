"""Classes and images of a folder: with train/CLASS/ and val/CLASS/, or without labels."""

import hashlib
import os
import sys
from collections.abc import Sequence, Set
from pathlib import Path

from ra.data.images import EXTENSIONS, find_files, is_listed
from ra.errors import UserError
from ra.files import escaped
from ra.progress import Progress

SPLITS = ("train", "val")
NONE: frozenset[str] = frozenset()
NOT_UTF8 = "the name is not UTF-8; rename it"


def has_splits(root: Path) -> bool:
    """Whether ``root`` has train/ and val/; UserError where it has only one, or is no folder."""
    found = [split for split in SPLITS if (root / split).is_dir()]
    if len(found) == 1:
        [missing] = set(SPLITS) - set(found)
        raise UserError(f"{root / missing}: no such folder, but there is {found[0]}/; give both")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    return bool(found)


def find_classes(root: Path) -> list[str]:
    """Class names, sorted: the folders below ``root``/train and those below ``root``/val.

    None where images have no labels: they lie below ``root``, or right in its train/ and val/.
    """
    return sorted(set().union(*classes_by_split(root).values()))


def classes_by_split(root: Path) -> dict[str, set[str]]:
    """The class folders in ``root``/train and in ``root``/val; UserError where one has none."""
    found: dict[str, set[str]] = {}
    for split in SPLITS if has_splits(root) else ():
        entries = [entry for entry in os.scandir(root / split) if is_listed(entry.name)]
        found[split] = {entry.name for entry in entries if os.path.isdir(entry.path)}
        for name in found[split]:
            if not is_utf8(name):
                raise UserError(f"{root / split / escaped(name)}: {NOT_UTF8}")
    for here, there in (SPLITS, SPLITS[::-1]) if any(found.values()) else ():
        if not found[there]:
            raise UserError(
                f"{root}: labels in {here}/ only, {there}/ has no class folder; make "
                f"{there}/CLASS/, or set labels: false"
            )
    return found


def check_same_classes(root: str, train: Set[str] = NONE, val: Set[str] = NONE) -> None:
    """UserError where a recognizer cannot learn from ``root``: without labels, or some unlike."""
    if not train | val:
        raise UserError(f"{root}: no labels, so no recognizer can be trained; use a pretrained one")
    for here, there, missing in (("train", "val", train - val), ("val", "train", val - train)):
        if missing:
            names = _some(sorted(missing))
            raise UserError(f"{root}: in {here}/ but not in {there}/: {names}; add or remove them")


def find_images(
    root: Path, classes: Sequence[str], val_share: float = 0.2, val_seed: int = 0
) -> dict[str, list[tuple[str, int]]]:
    """(path relative to root, label) of every image of each split, in one order on every machine.

    Says on stderr how many files of other formats are left out.

    Args:
        classes: as ``find_classes`` found them; without any, every label is -1.
        val_share: of the images becomes validation where there is no train/ and val/: seed and
            content of a file decide, so that a new file moves no other.
    """
    left_out: list[str] = []

    def listed(folder: str, label: int) -> list[tuple[str, int]]:
        images, others = find_files(root / folder)
        if not images:
            raise UserError(f"{root / folder}: no image in it ({', '.join(EXTENSIONS)})")
        left_out.extend(folder + path for path in others)
        return [(folder + path, label) for path in images]

    found: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLITS}
    if not has_splits(root):
        for path, label in Progress(listed("", -1), name="split by content", unit="images"):
            found["val" if _draw(root / path, val_seed) < val_share else "train"].append(
                (path, label)
            )
        for split in SPLITS:
            if not found[split]:
                few = f"val_share {val_share:g} of so few images leaves none for {split}"
                raise UserError(f"{root}: {few}; choose another val_share or val_seed")
    for split in SPLITS if has_splits(root) else ():
        for folder, label in [(f"{split}/{c}/", n) for n, c in enumerate(classes)] or [
            (f"{split}/", -1)
        ]:
            if (root / folder).is_dir():
                found[split] += listed(folder, label)
    if left_out:
        names = _some(left_out)
        print(
            f"left out {len(left_out)} files in {root} that are no images: {names}", file=sys.stderr
        )
    return found


def _draw(path: Path, seed: int) -> float:
    """A number in [0, 1) that seed and content of a file decide; copies of a file have one."""
    try:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # named when it is read
        content = ""
    return int(hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()[:13], 16) / 16**13


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
