"""`ra prepare`: reads a folder of images once, into a manifest and a flat file of pixels.

A prepared data set is a directory with, for each split,
  SPLIT.csv  one line per image: path, label, height, width, offset, sha256
  SPLIT.bin  the decoded images one after the other, uint8 H x W x 3 (absent with decode=False)
and ``dataset.json``: classes, sizes, digest. Jobs memory-map SPLIT.bin, so they share its pages.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ra.data.images import EXTENSIONS, BadImage, read_image
from ra.errors import UserError
from ra.files import named, write_json, write_text
from ra.progress import Progress

SPLITS = ("train", "val")
COLUMNS = ("path", "label", "height", "width", "offset", "sha256")


@dataclass(frozen=True)
class DatasetInfo:
    """What ``dataset.json`` holds: everything about a prepared data set but its pixels.

    Attributes:
        name: identifies the data set in results.
        root: the folder with ``train/`` and ``val/``.
        classes: class names, in the order of their labels.
        images: number of images per split.
        resize: length of the shorter side in pixels; None where images keep their size.
        crop: side of the square crops, in pixels.
        decoded: whether pixels are cached; otherwise files are decoded at every use.
        digest: sha256 over the manifests and the sizes.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    images: dict[str, int]
    resize: int | None
    crop: int
    decoded: bool
    digest: str


def prepare(
    root: Path,
    out: Path,
    *,
    name: str,
    resize: int | None,
    crop: int,
    decode: bool = True,
    on_bad_image: str = "fail",
    workers: int = 1,
) -> DatasetInfo:
    """Read ``root``/train and ``root``/val into a prepared data set at ``out``.

    Interrupted, it continues behind the last image written. Memory does not grow with the number
    of images beyond the list of their paths.

    Args:
        resize: shorter side in pixels after resizing; None keeps every image as it is.
        crop: side in pixels of the crops that will be taken; smaller images are bad images.
        on_bad_image: ``fail`` names the first bad image and stops, ``skip`` names all, goes on.
        workers: decoding processes.

    Raises:
        UserError: a missing folder, classes that differ between the splits, bad images.
    """
    check_sizes(resize, crop)
    classes = find_classes(root)
    read = partial(_read, root=root, resize=resize, smallest=crop)
    out.mkdir(parents=True, exist_ok=True)
    # Parts of a run with other settings have other names, so they are never continued.
    tag = hashlib.sha256(repr([str(root), resize, crop, decode]).encode()).hexdigest()[:8]
    counts, digests = {}, []
    for split in SPLITS:
        part = out / f"{split}-{tag}.part"
        files = list(find_images(root, split, classes))
        counts[split], bad = _write_part(part, files, read, decode, on_bad_image, workers)
        _report_bad(out / f"{split}.skipped.txt", bad)
        if not counts[split]:
            raise UserError(f"{root / split}: no usable image in it")
    (out / "dataset.json").unlink(missing_ok=True)
    for split in SPLITS:
        part = out / f"{split}-{tag}.part"
        header = ",".join(COLUMNS) + "\n"
        write_text(out / f"{split}.csv", header + _rows(part).read_text(encoding="utf-8"))
        os.replace(_pixels(part), out / f"{split}.bin")
        digests.append(hashlib.sha256((out / f"{split}.csv").read_bytes()).hexdigest())
    digest = hashlib.sha256(json.dumps([digests, classes, resize, crop]).encode()).hexdigest()
    info = DatasetInfo(name, str(root), tuple(classes), counts, resize, crop, decode, digest)
    write_json(out / "dataset.json", asdict(info))
    for split in SPLITS:
        _rows(out / f"{split}-{tag}.part").unlink()
        if not decode:
            (out / f"{split}.bin").unlink()
    return info


def check_sizes(resize: int | None, crop: int) -> None:
    """UserError where no crop of ``crop`` pixels fits into images of ``resize``."""
    if crop < 1:
        raise UserError(f"crop: {crop} px; it must be at least 1")
    if resize is not None and resize < crop:
        raise UserError(f"resize: {resize} px is smaller than the crop of {crop} px")


def read_info(directory: Path) -> DatasetInfo:
    """The ``dataset.json`` of a prepared data set."""
    path = directory / "dataset.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return DatasetInfo(**{**fields, "classes": tuple(fields["classes"])})
    except FileNotFoundError:
        raise UserError(f"{path}: not found; make it with 'ra prepare'") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: not written by this 'ra prepare'; run it again") from None


def find_classes(root: Path) -> list[str]:
    """Class names, sorted: the folders below ``root``/train, which must equal those of val."""
    found = {}
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; a data set has train/CLASS/ and val/CLASS/ with images"
            )
        found[split] = {entry.name for entry in os.scandir(folder) if entry.is_dir()}
        if not found[split]:
            raise UserError(f"{folder}: no class folder in it; expected {split}/CLASS/image.jpg")
    for here, there in (("train", "val"), ("val", "train")):
        missing = sorted(found[here] - found[there])
        if missing:
            names = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise UserError(f"{root}: in {here}/ but not in {there}/: {names}; add or remove them")
    return sorted(found["train"])


def find_images(root: Path, split: str, classes: list[str]) -> Iterator[tuple[str, int]]:
    """Yield (path relative to root, label) of every image, in one order on every machine."""
    for label, name in enumerate(classes):
        found = list(_walk(root / split / name, frozenset()))
        if not found:
            raise UserError(f"{root / split / name}: no image in it ({', '.join(EXTENSIONS)})")
        for path in sorted(found):
            yield str(path.relative_to(root)), label


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Images below ``folder``, through links but never into a folder that is being visited."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in os.scandir(folder):
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads to itself
            continue
        if is_folder:
            yield from _walk(Path(entry.path), above | {real})
        elif entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith("."):
            yield Path(entry.path)


def _read(item: tuple[str, int], root: Path, resize: int | None, smallest: int):
    """Pixels and sha256 of one file, or the reason why there are none."""
    path = root / item[0]
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return read_image(path, resize, smallest), digest, None
    except BadImage as error:
        return None, None, str(error)
    except OSError as error:
        return None, None, f"cannot be read: {error.strerror}"


def _rows(part: Path) -> Path:
    return part.with_suffix(".csv.part")


def _pixels(part: Path) -> Path:
    return part.with_suffix(".bin.part")


def _write_part(part, files, read, decode, on_bad_image, workers) -> tuple[int, list[str]]:
    """Append the images behind what an interrupted run left; (images in all, bad ones met)."""
    start, count, offset = _recover(part, files, decode)
    bad = []
    with (
        named(_pixels(part)),
        open(_rows(part), "a", newline="", encoding="utf-8") as rows,
        open(_pixels(part), "ab") as pixels,
        Progress(
            total=len(files),
            initial=start,
            name=f"prepare {part.stem.rpartition('-')[0]}",
            unit="images",
        ) as bar,
    ):
        writer = csv.writer(rows, lineterminator="\n")
        for (path, label), (image, digest, reason) in _map(read, files[start:], workers):
            bar.update()
            if reason:
                bad.append(f"{path} {reason}")
                if on_bad_image == "fail":
                    raise UserError(f"{bad[0]}; mend or remove it, or set on_bad_image: skip")
                continue
            if decode:
                pixels.write(np.ascontiguousarray(image).data)
            writer.writerow([path, label, *image.shape[:2], offset, digest])
            offset += image.size if decode else 0
            count += 1
            if count % 1000 == 0:  # a killed run repeats at most this much
                pixels.flush()
                rows.flush()
        pixels.flush()
        rows.flush()
        os.fsync(pixels.fileno())
    return count, bad


def _report_bad(listing: Path, bad: list[str]) -> None:
    listing.unlink(missing_ok=True)
    if bad:
        lines = "\n".join(bad) + "\n"
        print(f"skipped {len(bad)} bad images, listed in {listing}:\n{lines}", file=sys.stderr)
        write_text(listing, lines)


def _recover(part: Path, files: list[tuple[str, int]], decode: bool) -> tuple[int, int, int]:
    """Where to go on: (position in ``files``, images kept, bytes of pixels kept).

    Keeps the lines whose pixels are whole and cuts both files behind the last of them; begins
    anew where the folder has changed since.
    """
    rows, pixels = _rows(part), _pixels(part)
    rows.touch()
    pixels.touch()
    size, offset, kept = pixels.stat().st_size, 0, []
    text = rows.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    for line, row in zip(lines, csv.reader(lines), strict=False):
        end = int(row[4]) + int(row[2]) * int(row[3]) * 3 if decode else 0
        if end > size:
            break
        kept.append((line, (row[0], int(row[1]))))
        offset = end
    position = {item: index for index, item in enumerate(files)}
    if any(item not in position for _, item in kept):
        kept, offset = [], 0
    rows.write_text("".join(line for line, _ in kept), encoding="utf-8")
    os.truncate(pixels, offset)
    return (position[kept[-1][1]] + 1 if kept else 0), len(kept), offset


def _map(read, files, workers):
    """(item, result) in order; with several workers in processes, a bounded number ahead."""
    if workers <= 1:
        yield from ((item, read(item)) for item in files)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        ahead = workers * 64
        for begin in range(0, len(files), ahead):
            block = files[begin : begin + ahead]
            yield from zip(block, pool.map(read, block, chunksize=16), strict=True)
