"""Pretrained weights: from the libraries' cache (TORCH_HOME), downloaded once, tensors only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    target = cache() / name
    try:
        with _weights_only():
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


@contextmanager
def _weights_only() -> Iterator[None]:
    """torch.load reads tensors only; torchvision's own call would execute a cached pickle."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        del os.environ[key]
        if before is not None:
            os.environ[key] = before
