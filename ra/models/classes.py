"""Which logit of a recognizer belongs to which class of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ra.errors import UserError
from ra.files import read_yaml

HINT = "give --classes FILE, a mapping from folder names to logits"


def load_class_index(classes: Sequence[str], mapping: Path | None, logits: int = 1000) -> list[int]:
    """The logit of each class of a data set.

    Args:
        classes: folder names, in the order of their labels.
        mapping: YAML, JSON (folder name -> logit, or names in the order of the logits; either
            may stand under a key ``classes``) or .txt (a name a line, in the order of the
            logits). None takes the folders for ImageNet wnids, whose logits are looked up, not
            assumed to be in the folders' order.
        logits: number of logits of the recognizer.

    Raises:
        UserError: a class has no logit, or the file is not a mapping.
    """
    if mapping:
        table, source = read_classes(mapping), str(mapping)
    elif logits != 1000:
        raise UserError(
            f"the recognizer has {logits} logits, which ImageNet's wnids do not name; {HINT}"
        )
    else:
        from timm.data import ImageNetInfo

        table = {wnid: logit for logit, wnid in enumerate(ImageNetInfo().label_names())}
        source = "ImageNet's wnids"
    missing = [name for name in classes if name not in table]
    if missing:
        raise UserError(f"class folders {json.dumps(missing[:3])} are not in {source}; {HINT}")
    return [table[name] for name in classes]


def read_classes(path: Path) -> dict[str, int]:
    """Class name -> logit, from a mapping file as in ``load_class_index``."""
    try:
        if path.suffix == ".txt":
            table = path.read_text(encoding="utf-8").split("\n")
        else:
            table = read_yaml(path)
        if isinstance(table, dict) and isinstance(table.get("classes"), (dict, list)):
            table = table["classes"]
        if isinstance(table, list):
            names = [str(name).strip() for name in table]
            table = {name: logit for logit, name in enumerate(names) if name}
        return {str(name): int(logit) for name, logit in table.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        raise UserError(f"{path}: not a mapping from folder names to logits") from None
