"""A user's own recognizer: a YAML file beside a state dict, a TorchScript or a torch.export file.

    arch: resnet18              # torchvision or timm name, for a state dict
    state_dict: weights.pth     # or .safetensors; or instead of both: torchscript: r.pt
    num_classes: 10             #                                   or exported: r.pt2
    classes: [cat, dog, ...]    # optional: names in the order of the logits, or name -> logit
    input_size: 224             # optional: side in pixels; left out, images come as they are
    mean: [0.485, 0.456, 0.406] # optional, with std: ImageNet's
    std: [0.229, 0.224, 0.225]

A state dict may lie in a checkpoint of a training script, under ``state_dict``, ``model``,
``state_dict_ema`` or ``model_ema``; of such a file, tensors are all that is read and nothing is
executed. TorchScript and torch.export files are programs: opening one runs the code in it, so take
them only from where you would take a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ra.errors import UserError, unknown
from ra.files import read_yaml
from ra.models.checkpoints import build
from ra.models.classes import load_class_index, read_classes
from ra.models.inert_pickle import View, one_line_for, open_pickled
from ra.models.names import is_own
from ra.models.recognizers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LARGEST_SIDE,
    MOST_LOGITS,
    Recognizer,
    build_recognizer,
    check_size,
)

SOURCES = ("state_dict", "torchscript", "exported")
# Where training scripts keep the weights, and what wrappers put before their names.
STATES = ("state_dict", "model", "state_dict_ema", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
KEYS = (*SOURCES, "arch", "num_classes", "classes", "input_size", "mean", "std")


def pretrained_recognizer(
    name: str, classes: Sequence[str], weights: str = "DEFAULT", mapping: Path | None = None
) -> Recognizer:
    """A recognizer for a data set with these ``classes`` (folder names in the order of labels).

    Args:
        name: a library's name (``build_recognizer``) or a user's .yaml file.
        mapping: file of class names and logits (``load_class_index``). Without it, a library's
            recognizer takes the folders for ImageNet's wnids and a user's for the classes in its
            YAML; one whose YAML names none must have as many logits as there are classes, in
            their order.

    Raises:
        UserError: as ``build_recognizer`` and ``load_user_recognizer``, or a class has no logit.
    """
    if not is_own(name):
        recognizer = build_recognizer(name, len(classes), weights)
        return recognizer.select(load_class_index(classes, mapping, recognizer.logits))
    recognizer = load_user_recognizer(Path(name))
    if mapping or "classes" in _read(Path(name)):
        return recognizer.select(load_class_index(classes, mapping or Path(name)))
    if recognizer.logits != len(classes):
        raise UserError(
            f"{name}: has {recognizer.logits} classes, the data {len(classes)}; "
            "add classes: with their names in the order of the logits"
        )
    return recognizer


def load_user_recognizer(path: Path) -> Recognizer:
    """The recognizer that the YAML file ``path`` describes, with all its logits.

    Raises:
        UserError: a key or file is missing, wrong or damaged, or the weights do not fit.
    """
    settings = _read(path)
    kind, file = _source(path, settings)
    count, side = settings.get("num_classes"), settings.get("input_size")
    check_size(f"{path}: num_classes", count, MOST_LOGITS)
    if side is not None:
        check_size(f"{path}: input_size", side, LARGEST_SIDE)
    mean, std = (_three(path, settings, key) for key in ("mean", "std"))
    if kind == "state_dict":
        recognizer = _with_weights(path, file, str(settings["arch"]), count, side)
        recognizer.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        recognizer.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    else:
        recognizer = Recognizer(Program(kind, file), count, mean, std, side)
        _try(path, file, recognizer, side or 224)
    if "classes" in settings:
        _check_classes(path, count)
    return recognizer


def _with_weights(path: Path, file: Path, arch: str, count: int, side: int | None) -> Recognizer:
    """The library's ``arch`` with the weights of ``file``."""
    made: list[Recognizer] = []

    def make() -> nn.Module:
        made.append(build_recognizer(arch, count, input_size=side))
        return made[-1].classifier

    build(file, make, _state(file), str(path))
    return made[-1]


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such recognizer file") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: not a mapping with {', '.join(SOURCES)} and num_classes")
    for key in settings:
        if key not in KEYS:
            raise UserError(f"{path}: {unknown('key', str(key), KEYS)}")
    return settings


def _source(path: Path, settings: dict[str, Any]) -> tuple[str, Path]:
    """(kind, file) of the one source; its path is relative to the YAML file."""
    given = [kind for kind in SOURCES if kind in settings]
    if len(given) != 1:
        raise UserError(f"{path}: give one of {', '.join(SOURCES)}; there are {len(given)}")
    if given == ["state_dict"] and "arch" not in settings:
        raise UserError(f"{path}: arch is missing; a state dict needs it")
    file = path.parent / str(settings[given[0]])
    if not file.is_file():
        raise UserError(f"{path}: {given[0]}: {file}: no such file")
    return given[0], file


def _three(path: Path, settings: dict[str, Any], key: str) -> list[float]:
    values = settings.get(key, {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}[key])
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or (key == "std" and min(numbers) <= 0):
        raise UserError(f"{path}: {key} is {values!r}; it must be three numbers, std above 0")
    return numbers


def _check_classes(path: Path, count: int) -> None:
    table = read_classes(path)
    if max(table.values(), default=0) >= count:
        raise UserError(
            f"{path}: classes names logit {max(table.values())}, but num_classes is {count}"
        )


def _state(file: Path) -> dict[str, Tensor]:
    """The tensors of ``file``, without the prefixes that wrappers put before their names."""
    read: Any
    with one_line_for(file):
        if file.suffix == ".safetensors":
            state, read, kind = load_file(file), lambda value: value, Tensor
        else:
            (state, read), kind = open_pickled(file), View
        for _ in STATES:  # a checkpoint within a checkpoint; one that holds itself has no end
            within = [state[key] for key in STATES if isinstance(state, dict) and key in state]
            state = next((part for part in within if isinstance(part, dict)), state)
        if not isinstance(state, dict) or not all(isinstance(v, kind) for v in state.values()):
            places = ", ".join(STATES)
            raise UserError(f"{file}: not a state dict of tensors, nor one under {places}")
        state = {str(name): read(value) for name, value in state.items()}
    found = {}
    for name, value in state.items():
        while prefix := next((part for part in PREFIXES if name.startswith(part)), None):
            name = name.removeprefix(prefix)
        if name in found:
            raise UserError(f"{file}: holds {name} twice; save the state dict of one network")
        # Inception's and GoogLeNet's auxiliary heads serve their own training only.
        if not name.startswith(("AuxLogits.", "aux1.", "aux2.")):
            found[name] = value
    return found


class Program(nn.Module):
    """A TorchScript or torch.export program as a classifier; always as it was saved (evaluation).

    forward: normalised images (N, 3, H, W) -> logits (N, classes). An exported program takes the
    batch sizes it was exported for: export with a dynamic batch dimension.
    """

    def __init__(self, kind: str, file: Path) -> None:
        super().__init__()
        try:
            if kind == "torchscript":
                self.program = torch.jit.load(str(file), map_location="cpu").eval()
            else:
                self.program = torch.export.load(str(file)).module()
        except Exception as error:
            raise UserError(f"{file}: not a {kind} file ({_first_line(error)})") from None

    def forward(self, images: Tensor) -> Tensor:
        return self.program(images)

    def train(self, mode: bool = True) -> Program:
        """Exported programs refuse to change mode, and a fixed recognizer never needs to."""
        self.training = False
        return self


def _try(path: Path, file: Path, recognizer: Recognizer, side: int) -> None:
    """Run the program on two grey images before any training: only that shows what it returns."""
    try:
        with torch.no_grad():
            answer = recognizer(torch.full((2, 3, side, side), 0.5))
    except Exception as error:
        raise UserError(f"{file}: fails on two {side} px images ({_first_line(error)})") from None
    if not isinstance(answer, Tensor) or answer.shape != (2, recognizer.logits):
        shape = tuple(getattr(answer, "shape", ()))
        raise UserError(
            f"{file}: returns {shape} for two images; {path} has num_classes {recognizer.logits}"
        )
    if not answer.isfinite().all():
        raise UserError(f"{file}: returns NaN or infinity for a grey image")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0].rstrip(": ")[:160]
