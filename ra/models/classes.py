"""Which logit of a recognizer belongs to which class of a data set."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
        table, source = _read(mapping), str(mapping)
    elif logits != 1000:
        raise UserError(
            f"the recognizer has {logits} logits, which ImageNet's wnids do not name; {HINT}"
        )
    else:
        from timm.data import ImageNetInfo

        table, source = class_table(ImageNetInfo().label_names()), "ImageNet's wnids"
    missing = [name for name in classes if name not in table]
    if missing:
        raise UserError(f"class folders {json.dumps(missing[:3])} are not in {source}; {HINT}")
    return [table[name] for name in classes]


def _read(path: Path) -> dict[str, int]:
    try:
        if path.suffix == ".txt":
            return class_table(path.read_text(encoding="utf-8").split("\n"))
        content = read_yaml(path)
        within = content.get("classes") if isinstance(content, dict) else None
        return class_table(within if isinstance(within, dict | list) else content)
    except (OSError, ValueError):
        raise UserError(f"{path}: not a mapping from folder names to logits") from None


def class_table(given: Any) -> dict[str, int]:
    """Class name -> logit, of such a mapping or of names in the order of the logits.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(given, list):
        names = [str(name).strip() for name in given]
        return {name: logit for logit, name in enumerate(names) if name}
    try:
        return {str(name): int(logit) for name, logit in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError("should be names in the order of the logits, or name: logit") from None
