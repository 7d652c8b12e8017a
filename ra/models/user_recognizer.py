"""A user's own R: a small YAML file beside a state dict, a TorchScript or a torch.export file.

    arch: resnet18              # torchvision or timm name, for a state dict
    state_dict: weights.pth     # or .safetensors; or instead of both: torchscript: r.pt
    num_classes: 10             #                                   or exported: r.pt2
    classes: [cat, dog, ...]    # optional: names in the order of the logits, or name -> logit
    input_size: 224             # optional: side in pixels; left out, images come as they are
    mean: [0.485, 0.456, 0.406] # optional, with std: ImageNet's
    std: [0.229, 0.224, 0.225]

State dicts are read without executing anything. TorchScript and torch.export files are programs:
opening one runs the code in it, so take them only from where you would take a program.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from ra.errors import UserError, unknown
from ra.models.recognizers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Recognizer,
    build_recognizer,
    load_class_index,
    read_classes,
)
from ra.models.weights import fill

SOURCES = ("state_dict", "torchscript", "exported")
KEYS = (*SOURCES, "arch", "num_classes", "classes", "input_size", "mean", "std")


def is_own(path: Path | str) -> bool:
    """Whether an R is given as a user's YAML file."""
    return Path(path).suffix in (".yaml", ".yml")


def pretrained_recognizer(
    name: str, classes: Sequence[str], weights: str = "DEFAULT", mapping: Path | None = None
) -> Recognizer:
    """A ready R for a data set with these ``classes`` (folder names in the order of labels).

    Args:
        name: a library's name (``build_recognizer``) or a user's .yaml file.
        mapping: file of class names and logits (``load_class_index``); without it a library's R
            is asked for ImageNet's wnids, a user's for the classes in its YAML, and one whose
            YAML names none must have as many logits as there are classes, in their order.
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
    """R as the YAML file ``path`` describes it (see this module), with all its logits.

    Raises:
        UserError: a key or file is missing, wrong or damaged, or the weights do not fit.
    """
    settings = _read(path)
    kind, file = _source(path, settings)
    count = settings.get("num_classes")
    if not isinstance(count, int) or count < 1:
        raise UserError(f"{path}: num_classes is {count!r}; it must be the number of logits")
    side = settings.get("input_size")
    if side is not None and (not isinstance(side, int) or side < 1):
        raise UserError(f"{path}: input_size is {side!r}; it must be a side in pixels")
    mean, std = (_three(path, settings, key) for key in ("mean", "std"))
    if kind == "state_dict":
        recognizer = build_recognizer(str(settings["arch"]), count, input_size=side)
        fill(file, recognizer.classifier, _state(file, recognizer.classifier), str(path))
        recognizer.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        recognizer.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    else:
        recognizer = Recognizer(Program(kind, file), count, mean, std, side)
        _try(path, file, recognizer, side or 224)
    if "classes" in settings:
        _check_classes(path, count)
    return recognizer


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recognizer file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({_first_line(error)})") from None
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


def _state(file: Path, classifier: nn.Module) -> dict[str, Tensor]:
    """Tensors of ``file`` under the names they have in ``classifier``."""
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    # torch.load and safetensors raise half a dozen kinds for a file that is not theirs.
    except Exception as error:
        raise UserError(
            f"{file}: not a state dict that can be read without executing it ({_first_line(error)})"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: not a state dict of tensors")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    # Inception's and GoogLeNet's auxiliary heads are of use in their own training only.
    heads = () if hasattr(classifier, "AuxLogits") else ("AuxLogits.", "aux1.", "aux2.")
    return {name: value for name, value in state.items() if not name.startswith(heads)}


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
        """Exported programs refuse to change mode, and a fixed R never has to."""
        self.training = False
        return self


def _try(path: Path, file: Path, recognizer: Recognizer, side: int) -> None:
    """A program says what it does only when it runs: two grey images, before any training."""
    try:
        with torch.no_grad():
            answer = recognizer(torch.full((2, 3, side, side), 0.5))
    except Exception as error:
        raise UserError(f"{file}: fails on two {side} px images ({_first_line(error)})") from None
    if not isinstance(answer, Tensor) or answer.shape != (2, recognizer.logits):
        shape = tuple(getattr(answer, "shape", ()))
        raise UserError(
            f"{file}: answers {shape} to two images; {path} has num_classes {recognizer.logits}"
        )
    if not answer.isfinite().all():
        raise UserError(f"{file}: answers NaN or infinity to a grey image")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0].rstrip(": ")[:160]
