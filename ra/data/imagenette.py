"""Imagenette, ten classes of ImageNet: torchvision's own download, as a folder of images."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import Imagenette

from ra.errors import UserError

SIZE = "320px"  # shorter side; "full" is ten times the download and is resized to 256 anyway
FOLDER = "imagenette2-320"


def fetch(root: Path) -> Path:
    """The folder with train/WNID/ and val/WNID/ below ``root``, downloaded where it is missing.

    Raises:
        UserError: no network and no such folder; the line says what to put where.
    """
    folder = root / FOLDER
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    try:
        Imagenette(root, size=SIZE, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).split("\n")[0][:120]
        raise UserError(
            f"imagenette: cannot be downloaded here ({type(error).__name__}: {reason}); put the "
            f"extracted folder at {folder}"
        ) from None
    return folder
