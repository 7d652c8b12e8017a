"""Pretrained weights: from the libraries' cache (TORCH_HOME), downloaded once, tensors only."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ra.errors import UserError


def cache() -> Path:
    """The folder of torchvision's weights; timm's may lie there too."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_weights(load: Callable[[], nn.Module], name: str) -> nn.Module:
    """Call ``load``, which reads or downloads the weight file ``name``.

    Raises:
        UserError: it failed; the line says which file to put where, or to delete.
    """
    from unittest.mock import patch

    target = cache() / name
    try:
        # torchvision's own call of torch.load would execute a cached pickle.
        with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            return load()
    except UserError:
        raise
    # No network, a truncated zip, a pickle with code: the file decides which.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(": ")[:120]
        if target.exists():
            raise UserError(f"{target}: damaged weights ({reason}); delete the file") from None
        raise UserError(
            f"pretrained weights {name}: not cached, and could not be downloaded "
            f"({reason}); put the file at {target}"
        ) from None
