"""A user's own recognizer: a YAML file (``Description``) beside the file of its weights.

A state dict may lie in a checkpoint of a training script, under ``state_dict``, ``model``,
``state_dict_ema`` or ``model_ema``; of such a file, tensors are all that is read and nothing is
executed. TorchScript and torch.export files are programs: opening one runs the code in it, so take
them only from where you would take a program.
"""

from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from ra.errors import UserError, first_line
from ra.files import read_yaml
from ra.models.architectures import Network, build_recognizer
from ra.models.checkpoints import build
from ra.models.classes import class_table
from ra.models.classifiers import AUXILIARY, Classifier
from ra.models.recognizers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
)
from ra.models.weights import read_weights
from ra.settings.base import Float, checked, setting

SOURCES = ("state_dict", "torchscript", "exported")
# Where training scripts keep the weights, and what wrappers put before their names.
STATES = ("state_dict", "model", "state_dict_ema", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
ON_DEVICE = torch.ops.aten._assert_tensor_metadata.default
Positive = Annotated[Float, Field(gt=0)]


class Description(Network):
    """The keys of the YAML file; it names one file, relative to itself: one of the first three.

    Without input_size, images come as they are.
    """

    state_dict: str | None = setting(None, "weights of arch: weights.pth or .safetensors")
    torchscript: str | None = setting(None, "a program of torch.jit.save")
    exported: str | None = setting(None, "a program of torch.export.save")
    arch: str | None = setting(None, "torchvision's or timm's name; a state dict needs it")
    classes: Annotated[dict[str, int], BeforeValidator(class_table)] | None = setting(
        None, "of the classes, to find a data set's"
    )
    mean: tuple[Float, Float, Float] = setting(IMAGENET_MEAN, "of the three colours")
    std: tuple[Positive, Positive, Positive] = setting(IMAGENET_STD, "of the three colours")


def load_user_recognizer(path: Path) -> Classifier:
    """The recognizer that the YAML file ``path`` describes, with all its logits.

    Raises:
        UserError: a key or file is missing, wrong or damaged, or the weights do not fit.
    """
    try:
        given = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such recognizer file") from None
    if not isinstance(given, dict):
        raise UserError(f"{path}: not a mapping with {', '.join(SOURCES)} and num_classes")
    o = checked(Description, {str(key): value for key, value in given.items()}, f"{path}: ")
    files = {kind: path.parent / name for kind in SOURCES if (name := getattr(o, kind))}
    if len(files) != 1:
        raise UserError(f"{path}: give one of {', '.join(SOURCES)}; there are {len(files)}")
    [(kind, file)] = files.items()
    if not file.is_file():
        raise UserError(f"{path}: {kind}: {file}: no such file")
    if o.classes and max(o.classes.values()) >= o.num_classes:
        raise UserError(
            f"{path}: classes names logit {max(o.classes.values())}, but num_classes is "
            f"{o.num_classes}"
        )
    if kind == "state_dict":
        recognizer = _with_weights(path, file, o)
    else:
        recognizer = Classifier(Program(kind, file), o.num_classes, input_size=o.input_size)
    recognizer.classes, recognizer.trained = o.classes, True
    recognizer.mean.copy_(torch.tensor(o.mean).view(1, 3, 1, 1))
    recognizer.std.copy_(torch.tensor(o.std).view(1, 3, 1, 1))
    if kind != "state_dict":
        _try(path, file, recognizer, o.input_size or 224)
    return recognizer


def _with_weights(path: Path, file: Path, o: Description) -> Classifier:
    """The library's ``arch`` with the weights of ``file``."""
    if not o.arch:
        raise UserError(f"{path}: arch is missing; a state dict needs it")
    made: list[Any] = []

    def make() -> nn.Module:
        made.append(build_recognizer(str(o.arch), o.num_classes, input_size=o.input_size))
        return made[-1].classifier

    state = read_weights(file, STATES, PREFIXES)
    for name in [name for name in state if name.partition(".")[0] in AUXILIARY]:
        del state[name]
    build(file, make, state, str(path))
    return made[-1]


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
                for node in self.program.graph.find_nodes(op="call_function", target=ON_DEVICE):
                    self.program.graph.erase_node(node)  # it insists on the device of the export
                self.program.recompile()
        except Exception as error:
            raise UserError(f"{file}: not a {kind} file ({first_line(error)})") from None

    def forward(self, images: Tensor) -> Tensor:
        return self.program(images)

    def train(self, mode: bool = True) -> Self:
        """Exported programs refuse to change mode, and a fixed recognizer never needs to."""
        self.training = False
        return self


def _try(path: Path, file: Path, recognizer: Classifier, side: int) -> None:
    """Run the program on two grey images before any training: only that shows what it returns."""
    try:
        with torch.no_grad():
            answer = recognizer(torch.full((2, 3, side, side), 0.5))
    except Exception as error:
        raise UserError(f"{file}: fails on two {side} px images ({first_line(error)})") from None
    if not isinstance(answer, Tensor) or answer.shape != (2, recognizer.logits):
        shape = tuple(getattr(answer, "shape", ()))
        raise UserError(
            f"{file}: returns {shape} for two images; {path} has num_classes {recognizer.logits}"
        )
    if not answer.isfinite().all():
        raise UserError(f"{file}: returns NaN or infinity for a grey image")
