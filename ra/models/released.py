"""The authors' released checkpoints: whole pickled modules, read without executing anything.

A file is what ``torch.save(DataParallel(ResNet(...)))`` writes in torch 0.4 and later. A module of
ours with the same layers takes its weights.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ra.errors import UserError
from ra.models.checkpoints import build
from ra.models.inert_pickle import MOST, Record, one_line_for, open_pickled
from ra.models.processors import build_processor


def import_checkpoint(path: Path) -> nn.Module:
    """The processor (SRResNet) or transformer (the pix2pix generator) in one of the authors' files.

    Returns:
        Our module in evaluation mode, with ``header`` as ``build_processor`` sets it; its
        outputs are those of the pickled one.

    Raises:
        UserError: not such a file, damaged, of another network, or with a global that is not on
            the list, which is named.
    """
    with one_line_for(path):
        network = _unwrapped(open_pickled(path))
        layers = _layers(network)
        tensors = [tensor for layer in layers for tensor in _own(layer)]
        if sum(tensor.numel() for tensor in tensors) > path.stat().st_size:
            raise ValueError("more numbers than the file has bytes")
        return _ours(path, network, layers, tensors)


def _unwrapped(root: Any) -> Record:
    """The network within one or two DataParallel."""
    for _ in range(2):
        if getattr(root, "name", "") in ("DataParallel", "DistributedDataParallel"):
            root = root.parts("_modules")["module"]
    if not isinstance(root, Record):
        raise ValueError(f"holds a {type(root).__name__}, not a module")
    return root


def _layers(network: Record) -> list[Record]:
    """All layers that have tensors of their own, in their order, each once."""
    layers, seen, waiting = [], set(), [network]
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if len(seen) > MOST:
            raise ValueError(f"more than {MOST} modules")
        if _own(module):
            layers.append(module)
        children = [child for child in module.parts("_modules").values() if child is not None]
        waiting += reversed(children)
    return layers


def _own(module: Record) -> list[Tensor]:
    tensors = {**module.parts("_parameters"), **module.parts("_buffers")}
    tensors.pop("num_batches_tracked", None)
    found = [tensor for tensor in tensors.values() if isinstance(tensor, Tensor)]
    if any(tensor.numel() == 0 for tensor in found):
        raise ValueError("a tensor without numbers")
    return found


def _ours(path: Path, network: Record, layers: list[Record], tensors: list[Tensor]) -> nn.Module:
    """Our module of the same layers in the same order, with the weights ``tensors``."""
    kinds = [layer.name for layer in layers]
    parts = network.parts("_modules")
    channels = len(tensors[0]) if tensors else 0
    if network.state.get("residual"):
        raise UserError(f"{path}: a ResNet that predicts the residual, which is not supported")
    if list(parts) == [f"block{number + 1}" for number in range(len(parts))] and len(parts) > 3:
        ups = len(_layers(parts[f"block{len(parts)}"])) // 2
        arch, scale, blocks = "SRResNet", 2**ups, len(parts) - 3
    elif network.name == "ResnetGenerator" and "BatchNorm2d" in kinds:
        # One convolution at each end and two strided ones after and before: the rest are pairs.
        arch, scale, blocks = "pix2pix", 1, (kinds.count("Conv2d") - 4) // 2
    else:
        raise UserError(
            f"{path}: holds a {network.name}; the released networks are ResNet (block1 to block8) "
            "and ResnetGenerator"
        )

    def make() -> nn.Module:
        return build_processor(arch, scale, channels=channels, blocks=blocks)

    with torch.device("meta"):
        described = make()
    names = [name for name in described.state_dict() if not name.endswith("num_batches_tracked")]
    own = [type(layer).__name__ for layer in described.modules() if any(layer._parameters)]
    if own != kinds or len(names) != len(tensors):
        raise UserError(f"{path}: its {network.name} has other layers than the released one")
    state = dict(zip(names, tensors, strict=True))
    return build(path, make, state, f"its {network.name}").eval()
