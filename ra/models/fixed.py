"""Fixed recognizers for the classes of a data set: by name, by file, or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ra.data.prepare import DatasetInfo
from ra.errors import UserError
from ra.models.checkpoints import load_recognizer, read_header
from ra.models.names import distinct, is_own
from ra.models.recognizers import Ensemble, Recognizer, check_crop, freeze
from ra.models.user_recognizer import pretrained_recognizer
from ra.settings.shared import PAPER_WEIGHTS


def training_recognizer(arch: str, files: Sequence[Path], info: DatasetInfo) -> nn.Module:
    """The fixed recognizer called ``arch``, or the ensemble of those that + joins in it.

    Args:
        files: one for each name; without any the pretrained ones are taken.
    """
    names = arch.split("+") if len(files) != 1 else [arch]
    if files and len(files) != len(names):
        raise UserError(
            f"--recognizer: {len(files)} files for {len(names)} recognizers in --arch {arch}"
        )
    given: Sequence[Path | str] = files or names
    members: list[Any] = [
        fixed_recognizer(name, file, info) for name, file in zip(names, given, strict=True)
    ]
    return members[0] if len(members) == 1 else freeze(Ensemble(members))


def named_recognizers(names: Sequence[str], info: DatasetInfo) -> dict[str, nn.Module]:
    """Recognizers by their short names; UserError where two have one name."""
    made = [(*named_recognizer(name, info), name) for name in names]
    distinct((short, name) for short, _, name in made)
    return {short: recognizer for short, recognizer, _ in made}


def named_recognizer(name: str, info: DatasetInfo) -> tuple[str, nn.Module]:
    """(name in tables, recognizer) of a recognizer.safetensors, a YAML file or a library's name."""
    path = Path(name)
    if path.suffix == ".safetensors":
        shown = read_header(path, "recognizer")["arch"]
    else:
        shown = path.stem if is_own(path) else name
    return shown, fixed_recognizer(shown, name, info)


def fixed_recognizer(name: str, file: Path | str, info: DatasetInfo) -> nn.Module:
    """A recognizer for the classes of ``info``: stored, the user's own YAML file, or pretrained."""
    if Path(file).suffix == ".safetensors":
        name, recognizer = str(file), stored_recognizer(Path(file), info)
    else:
        recognizer = pretrained_recognizer(str(file), list(info.classes), PAPER_WEIGHTS)
    check_crop(recognizer, name, info.crop)
    return freeze(recognizer)


def stored_recognizer(path: Path, info: DatasetInfo) -> Recognizer:
    """The recognizer in ``path``, if it knows the classes of the data."""
    header = read_header(path, "recognizer")
    if header["classes"] != list(info.classes):
        raise UserError(
            f"{path}: knows {len(header['classes'])} classes, which are not the "
            f"{len(info.classes)} of {info.root}; train or import a recognizer on this data"
        )
    return load_recognizer(path)
