"""Published restoration networks: spandrel finds the architecture from the names of the tensors.

A file is safetensors, or what torch.save wrote of tensors alone: nothing in it is executed.
"""

import copy
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.errors import UserError, first_line
from ra.models.processors import build_processor, clamp
from ra.models.weights import fit, read_weights

PREFIX = "spandrel:"  # before a file's name in settings, before an architecture's in a header
INNER = "network."  # before the names of tensors in our own files
ONE_BY_ONE = ("DRUNet", "DnCNN")  # spandrel adds a noise map that fits one image


def is_published(arch: str) -> bool:
    """Whether ``arch`` names a published file rather than an architecture of the registry."""
    return arch.startswith(PREFIX)


def published_file(arch: str, settings: Iterable[str], where: str = "") -> Path:
    """The file that ``arch`` names; UserError where there is none, or ``settings`` are given."""
    path = Path(arch.removeprefix(PREFIX))
    if not path.is_file():
        raise UserError(f"{where}{arch}: no such file")
    for name in settings:
        raise UserError(f"{where}{arch}: has no setting {name}; the file says how it is built")
    return path


class Restorer(nn.Module):
    """A published network with its weights.

    forward: (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1], what spandrel's own
    call returns. That runs in inference mode, so the network is called here, with gradients.

    Args:
        path: where ``state`` was read, for messages.
        state: the tensors, by the names of any format of the architecture or of our own files.
        scale: up-scaling factor of the task.

    Raises:
        UserError: an unknown architecture, weights that do not fit or would not be used, another
            scale, or images that are not RGB.
    """

    def __init__(self, path: Path, state: Mapping[str, Tensor], scale: int) -> None:
        super().__init__()
        found = _found(path, {name.removeprefix(INNER): value for name, value in state.items()})
        self.arch = found.architecture.id
        if found.scale != scale:
            raise UserError(
                f"{path}: {self.arch} up-scales by {found.scale}, the task by {scale}; choose "
                "another file, or another factor of sr"
            )
        channels = found.input_channels, found.output_channels
        if channels != (3, 3):
            raise UserError(f"{path}: {self.arch} from %d to %d channels; RGB is needed" % channels)
        self.network, self._call, self.scale = found.model, found._call_fn, scale
        self._padding = found.size_requirements.get_padding
        self.header = {"arch": f"{PREFIX}{self.arch}", "scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        right, below = self._padding(width, height)
        # Reflected as far as the image goes, then continued by its last pixels.
        x = F.pad(x, (0, min(right, width - 1), 0, min(below, height - 1)), "reflect")
        x = F.pad(x, (0, width + right - x.shape[-1], 0, height + below - x.shape[-2]), "replicate")
        parts = x.split(1) if self.arch in ONE_BY_ONE else [x]
        output = torch.cat([self._call(self.network, part) for part in parts])
        return clamp(output)[..., : height * self.scale, : width * self.scale]

    def check_kept(self, path: Path) -> None:
        """UserError where the network's own tensors do not say all that ``path`` said of it."""
        try:
            again = _found(path, self.network.state_dict())
            same = (again.scale, str(again.model)) == (self.scale, str(self.network))
        except UserError:
            same = False
        if not same:
            raise UserError(
                f"{path}: a variant of {self.arch} that cannot be stored: spandrel does not find "
                "it again from the network's own tensors"
            )


def _spandrel() -> Any:
    try:
        import spandrel
    except ImportError:
        raise UserError(
            "published checkpoints need spandrel: install the extra `restorers`, "
            "pip install 'ra[restorers]'"
        ) from None
    return spandrel


def _found(path: Path, state: Mapping[str, Tensor]) -> Any:
    """spandrel's descriptor of the network in ``state``."""
    spandrel = _spandrel()
    given = dict(state)
    try:
        found = spandrel.MAIN_REGISTRY.load(given)
    except spandrel.UnsupportedModelError:
        raise UserError(
            f"{path}: of no architecture that spandrel knows, as SwinIR, ESRGAN or NAFNet are"
        ) from None
    except Exception as error:  # whatever odd tensors lead to
        reason = _misfits(str(error)) or first_line(error)
        raise UserError(f"{path}: its weights fit no network: {reason}") from None
    if isinstance(found, spandrel.MaskedImageModelDescriptor):
        raise UserError(f"{path}: {found.architecture.id} needs a mask beside the image")
    # Some formats are translated name by name; what has no translation would be lost silently.
    places, unused = Counter(value.shape for value in found.model.state_dict().values()), []
    for name, value in given.items():
        places[value.shape] -= 1
        if places[value.shape] < 0:
            unused.append(name)
    if unused:
        raise UserError(f"{path}: {found.architecture.id} has no use for {_listed(unused)}")
    return found


def _misfits(message: str) -> str:
    """The tensors that torch's error of a strict load names, counted."""
    kinds = re.findall(r"(Missing|Unexpected) key\(s\) in state_dict: (.*?)\. *$", message, re.M)
    names = [name for _, part in kinds for name in re.findall(r'"([^"]+)"', part)]
    names += re.findall(r"size mismatch for (\S+):", message)
    return f"missing, left over or of another size: {_listed(names)}" if names else ""


def _listed(names: list[str]) -> str:
    """``2 of its tensors (a, b)``."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(names)} of its tensors ({shown})"


def start_processor(
    arch: str, scale: int, settings: Mapping[str, Any], init: Path | None = None, train: bool = True
) -> nn.Module:
    """The processor with which a training begins.

    Its ``origin`` names the file of its weights and the file's sha256; empty where they are random.

    Args:
        arch: an architecture with its ``settings``, or ``spandrel:FILE``, which brings weights.
        init: the file whose weights are taken instead.
        train: whether it will be trained, and so has to be able to.

    Raises:
        UserError: as ``build_processor`` and ``Restorer``; weights that do not fit are counted.
    """
    file = published_file(arch, settings) if is_published(arch) else None
    module: Any
    if file:
        module = Restorer(file, read_weights(file), scale)
        module.check_kept(file)
        if train:
            check_trainable(file, module)
    else:
        module = build_processor(arch, scale, **settings)
    if init:
        state = read_weights(init)
        state = Restorer(init, state, scale).state_dict() if file else state
        fit(init, module, state, f"--sr-arch {arch}")
    module.origin = {}
    if source := init or file:
        with source.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        module.origin = {"file": source.name, "sha256": digest}
    return module


def check_trainable(path: Path, module: Restorer) -> None:
    """UserError where ``module`` cannot be trained: no gradient reaches its weights."""
    reason = "no gradient reaches its weights"
    with torch.random.fork_rng(devices=[]):
        try:
            probe = copy.deepcopy(module).train()  # batch norm moves
            output = probe(torch.rand(2, 3, 16, 16))
            weights = [one for one in probe.parameters() if one.requires_grad]
            gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
            if any(one is not None and one.any() for one in gradients):
                return
        except Exception as error:
            reason = first_line(error)
    raise UserError(
        f"{path}: {module.arch} cannot be trained ({reason}); it can be evaluated as it is, with "
        "the objective published alone"
    )
