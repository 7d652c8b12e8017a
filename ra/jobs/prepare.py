"""`ra prepare`: a folder, or one of the data sets that come with the package."""

import csv
from glob import glob
from pathlib import Path

from PIL import Image

from ra.data.dataset import DatasetInfo
from ra.data.images import resized
from ra.data.prepare import prepare
from ra.errors import UserError
from ra.settings.commands import Prepare

SHRUNK = 2  # images that lose more than this factor are worth a hint


def prepare_data(o: Prepare) -> str:
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
    sets = {"train": o.train_sets, "val": o.val_sets} if o.train_sets and o.val_sets else None
    if not sets and (o.train_sets or o.val_sets or glob("VOC*/ImageSets", root_dir=root)):
        raise UserError(f"{root}: a VOC tree; name its image sets: --train-sets and --val-sets")
    if o.data in ("scenes", "scenes-tune"):
        from ra.data.scenes import compose

        root, counts = o.save_dir / "images", dict(zip(("train", "val"), o.scenes, strict=True))
        sets = compose(root, o.crop, counts, part_of="tune" if "-" in o.data else "final")
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
        sets=sets,
        val_share=o.val_share,
        val_seed=o.val_seed,
    )
    classes = f"{len(info.classes)} classes" if info.classes else "no labels"
    classes += f", inputs 1:{info.scale}" if info.scale else ""
    return (
        f"{info.name}: {classes}, {info.images['train']} training and "
        f"{info.images['val']} validation images, {_sizes(info, o.save_dir)}"
    )


def _sizes(info: DatasetInfo, prepared: Path) -> str:
    """What became of the images' sizes; the first image stands for all."""
    if info.objects:
        return f"each fitted into a square of {info.crop} px"
    crops = f"crops of {info.crop} px"
    if not info.resize:
        return f"sizes kept, {crops}"
    with open(prepared / "train.csv", newline="", encoding="utf-8") as rows:
        first = next(csv.DictReader(rows))["path"]
    with Image.open(Path(info.root, first)) as image:
        size = image.size
    before, after = ("x".join(map(str, one)) for one in (size, resized(size, info.resize)))
    text = f"resized as {before} to {after} px, {crops}"
    if min(size) > SHRUNK * info.resize:
        text += " (--resize and --crop, or images: of the config, keep more)"
    return text
