"""`ra prepare`: a folder, or one of the data sets that come with the package."""

from __future__ import annotations

from pathlib import Path

from ra.data.prepare import prepare
from ra.progress import say
from ra.settings.commands import Prepare


def prepare_data(o: Prepare) -> None:
    """Read the images of ``o.data`` into a cache and a manifest at ``o.save_dir``."""
    root = Path(o.data)
    if o.data == "imagenette":
        from ra.data.imagenette import fetch

        root = fetch(o.save_dir / "images")
    elif o.data in ("embedded", "embedded-tune"):
        from ra.data.embedded import write_image_folder

        root = o.save_dir / "images"
        split = "tune" if o.data.endswith("tune") else "final"
        write_image_folder(root, tile=o.resize or 40, split=split)
    info = prepare(
        root,
        o.save_dir,
        name=o.name or o.data,
        resize=o.resize,
        crop=o.crop,
        decode=o.cache,
        on_bad_image=o.on_bad_image,
        workers=o.workers,
        labels=o.labels,
        inputs=o.inputs,
        val_share=o.val_share,
        val_seed=o.val_seed,
    )
    classes = f"{len(info.classes)} classes" if info.classes else "no labels"
    classes += f", inputs 1:{info.scale}" if info.scale else ""
    say(
        f"{info.name}: {classes}, {info.images['train']} training and "
        f"{info.images['val']} validation images in {o.save_dir}"
    )
