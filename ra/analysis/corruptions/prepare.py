"""One corruption of a published set, SET/CORRUPTION/SEVERITY/CLASS/*, as a prepared data set.

This is the layout of ImageNet-C (Hendrycks & Dietterich, ICLR 2019). Images are used as they are:
they are the input of processors, and there is nothing clean to compare the output with.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ra.analysis.command_settings import PrepareCorruption
from ra.data.dataset import read_info
from ra.data.images import find_files, is_listed
from ra.data.prepare import prepare
from ra.errors import UserError, unknown


def corruptions_in(root: Path, names: Sequence[str] | None = None) -> list[str]:
    """The corruptions ``names`` of the set at ``root``, by default all: its folders, sorted.

    Raises:
        UserError: no such set, an unknown name.
    """
    known = _folders(root) if root.is_dir() else []
    if not known:
        raise UserError(f"{root}: no corrupted set; expected CORRUPTION/SEVERITY/CLASS/image.jpg")
    for name in names or ():
        if name not in known:
            raise UserError(f"{root}: {unknown('corruption', name, known)}")
    return list(names or known)


def prepare_corruption(o: PrepareCorruption) -> str:
    """Read one corruption at every severity into a prepared data set for evaluation."""
    corruptions_in(o.data, [o.corruption])
    info = prepare(
        o.data,
        o.save_dir,
        name=o.name or f"{o.data.name}-{o.corruption}",
        resize=o.resize,
        crop=o.crop,
        decode=o.cache,
        on_bad_image=o.on_bad_image,
        workers=o.workers,
        corrupted=_find(o.data, o.corruption, read_info(o.like).classes if o.like else ()),
    )
    return f"{info.name}: {len(info.classes)} classes, {info.images['val']} images"


def _find(
    root: Path, corruption: str, classes: Sequence[str]
) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    """(classes, validation images) of one corruption, as ``find_images`` gives them.

    Args:
        classes: in the order of their labels; others are left out. Without any, those of the set.
    """
    severities = _folders(root / corruption)
    own = {name: _folders(root / corruption / name) for name in severities}
    present = sorted(set().union(*own.values()))
    classes = list(classes) or present
    if other := set(present) - set(classes):
        print(f"left out {len(other)} of {len(present)} classes in {root}", file=sys.stderr)
    found = [
        (f"{corruption}/{severity}/{name}/{path}", label)
        for severity in severities
        for label, name in enumerate(classes)
        if name in own[severity]
        for path in find_files(root / corruption / severity / name)[0]
    ]
    if not found:
        some = ", ".join(classes[:5])
        raise UserError(f"{root / corruption}: no image in SEVERITY/CLASS/ of the classes {some}")
    return classes, {"val": found}


def _folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if is_listed(path.name) and path.is_dir())
