"""A processor as a program that needs no ``ra``: ONNX, or torch.export's."""

import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ra.errors import UserError, first_line
from ra.files import atomic
from ra.inference.process import load_networks
from ra.settings.commands import Export

NAMES: Any = {"input_names": ["image"], "output_names": ["restored"]}


class Clamped(nn.Module):
    """image: float RGB (N, 3, h, w) in [0, 1] -> (N, 3, h * scale, w * scale) in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).clamp(0, 1)


def export(o: Export) -> str:
    """Write ``o.model`` as a program for images of any number, height and width.

    Raises:
        UserError: a package is missing, or the exporter cannot follow the network.
    """
    network, _ = load_networks(o.model, o.transformer)
    multiple = max(getattr(part, "multiple", 1) for part in network.modules())
    example = torch.rand(2, 3, 8 * multiple, 12 * multiple)
    free = torch.export.Dim.DYNAMIC
    program: Any
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters about themselves
            if o.format == "onnx":
                import onnxscript  # noqa: F401  # told before the work
            program = torch.export.export(
                Clamped(network), (example,), dynamic_shapes=({0: free, 2: free, 3: free},)
            )
            if o.format == "torch":
                torch.export.save(program, data := io.BytesIO())
                content = data.getvalue()
            else:
                made: Any = torch.onnx.export(program, (), dynamo=True, verbose=False, **NAMES)
                content = made.model_proto.SerializeToString()
    except ImportError as error:
        raise UserError(f"--format onnx: needs {error.name}; pip install 'ra[onnx]'") from None
    except Exception as error:  # a user's network may do whatever the exporter does not know
        raise UserError(
            f"{o.model}: cannot be exported to {o.format} ({first_line(error)})"
        ) from None
    with atomic(o.out) as temporary:
        temporary.write_bytes(content)
    return f"export: {o.format} program with sides that are multiples of {multiple} px"
