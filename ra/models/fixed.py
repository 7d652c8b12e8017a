"""Fixed recognizers for the classes of a data set: by name, by file, or several as one."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ra.data.dataset import DatasetInfo
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_recognizer, read_header
from ra.models.classes import load_class_index
from ra.models.classifiers import Classifier, Classifying, Ensemble
from ra.models.names import distinct, is_own, short_name
from ra.models.recognizers import Recognizer, Several, classifying, freeze
from ra.models.user_recognizer import load_user_recognizer
from ra.settings.shared import PAPER_WEIGHTS


def training_recognizer(arch: str, files: Sequence[Path], info: DatasetInfo) -> Recognizer:
    """The fixed recognizer called ``arch``, or the ensemble of those that + joins in it.

    Several classifiers are one by the mean of their probabilities, several kinds by that of their
    losses.

    Args:
        files: one for each name; without any the pretrained ones are taken.
    """
    names = arch.split("+") if len(files) != 1 else [arch]
    if files and len(files) != len(names):
        raise UserError(
            f"--recognizer: {len(files)} files for {len(names)} recognizers in --arch {arch}"
        )
    given: Sequence[Path | str] = files or names
    members = [_fixed(name, file, info) for name, file in zip(names, given, strict=True)]
    if len(members) == 1:
        return members[0]
    alike = all(isinstance(one, Classifying) for one in members)
    return freeze(Ensemble(members) if alike else Several(members))


def thaw(recognizer: Recognizer, name: str) -> Recognizer:
    """The frozen ``recognizer`` called ``name``, to be trained from now on.

    Raises:
        UserError: it is a program or an ensemble.
    """
    if not recognizer.header:
        raise UserError(f"{name}: a program or an ensemble, which cannot be trained; name another")
    recognizer.frozen = False
    return recognizer.requires_grad_(True)


def named_recognizers(given: Sequence[str], info: DatasetInfo) -> dict[str, Recognizer]:
    """Recognizers by their names in tables: of files (recognizer.safetensors, YAML) and names of
    the libraries.

    Raises:
        UserError: two have one name, or one cannot classify these images.
    """
    made, names = {}, []
    for one in given:
        stored = Path(one).suffix == ".safetensors"
        name = read_header(Path(one), "recognizer")["arch"] if stored else short_name(one)
        made[name] = _fixed(name, one, info)
        names.append((name, one))
    distinct(names)
    return made


def _fixed(name: str, file: Path | str, info: DatasetInfo) -> Recognizer:
    if Path(file).suffix == ".safetensors":
        name, recognizer = str(file), stored_recognizer(Path(file), info)
    else:
        recognizer = pretrained_recognizer(str(file), info.classes, PAPER_WEIGHTS)
        if not recognizer.trained:
            raise UserError(f"{name}: only its backbone has pretrained weights; train it first")
    check_crop(recognizer, name, info.crop)
    return freeze(recognizer)


def check_crop(recognizer: Recognizer, name: str, crop: int) -> None:
    """UserError where ``recognizer`` cannot classify images of ``crop`` pixels, a side."""
    was_training = recognizer.training
    try:
        with torch.no_grad(), classifying(name, crop, crop, "change crop"):
            recognizer.eval()(torch.full((1, 3, crop, crop), 0.5))
    finally:
        recognizer.train(was_training)


def stored_recognizer(path: Path, info: DatasetInfo) -> Recognizer:
    """The recognizer in ``path``, if it knows the classes of the data."""
    header = read_header(path, "recognizer")
    if info.classes and header["classes"] != list(info.classes):
        raise UserError(
            f"{path}: knows {len(header['classes'])} classes, which are not the "
            f"{len(info.classes)} of {info.root}; train or import a recognizer on this data"
        )
    return load_recognizer(path)


def pretrained_recognizer(
    name: str,
    classes: Sequence[str],
    weights: str = "DEFAULT",
    mapping: Path | None = None,
    input_size: int | None = None,
) -> Recognizer:
    """A recognizer for a data set with these ``classes`` (folder names in the order of labels).

    Args:
        name: a library's name (``build_recognizer``) or a user's .yaml file.
        mapping: file of class names and logits (``load_class_index``). Without it, a library's
            recognizer takes the folders for ImageNet's wnids and a user's for the classes in its
            YAML; one whose YAML names none must have as many logits as there are classes, in
            their order. Without classes it keeps all its logits.
        input_size: as for ``build_recognizer``.

    Raises:
        UserError: as ``build_recognizer`` and ``load_user_recognizer``, or a class has no logit.
    """
    if is_own(name):
        recognizer = load_user_recognizer(Path(name))
        mapping = mapping or (Path(name) if recognizer.classes is not None else None)
    else:
        recognizer = build_recognizer(name, len(classes) or 1000, weights, input_size)
    if not classes:
        return recognizer
    if isinstance(recognizer, Classifier) and (mapping or not is_own(name)):
        return recognizer.select(load_class_index(classes, mapping, recognizer.logits))
    if recognizer.logits != len(classes):
        raise UserError(
            f"{name}: has {recognizer.logits} classes, the data {len(classes)}; "
            "add classes: with their names in the order of the logits"
        )
    return recognizer
