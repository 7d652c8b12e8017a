"""Imagenette, ten classes of ImageNet: torchvision's own download, as a folder of images."""

from pathlib import Path

from torchvision.datasets import Imagenette

from ra.errors import UserError

SIZE = "320px"  # shorter side; the full size takes ten times as long to download
FOLDER = "imagenette2-320"


def fetch(root: Path) -> Path:
    """The folder with train/WNID/ and val/WNID/ below ``root``, downloaded if it is missing.

    Raises:
        UserError: the download failed; the message says where to put a copy.
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
            f"imagenette: could not be downloaded ({type(error).__name__}: {reason}); put the "
            f"extracted folder at {folder}"
        ) from None
    return folder
