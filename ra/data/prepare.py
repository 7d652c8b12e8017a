"""`ra prepare`: reads a folder of images once, into a manifest and a flat file of pixels.

A prepared data set is a directory with, for each split,
  SPLIT.csv  one row per image: path, label, height, width, offset, sha256
  SPLIT.bin  the decoded images one after the other, uint8 H x W x 3 (absent with decode=False)
  SPLIT.skipped.txt  images that cannot be used, and why (absent where all can)
and ``dataset.json``: classes, sizes, digest. Jobs memory-map SPLIT.bin, so they share its pages.
"""

import csv
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from ra.data.dataset import DatasetInfo, check_sizes
from ra.data.folders import NOT_UTF8, find_classes, find_images, is_utf8
from ra.data.images import BadImage
from ra.data.pairs import Pair, find_scale, find_twins, read_pair, twin_of
from ra.data.voc import find_scenes
from ra.errors import UserError
from ra.files import atomic, escaped, named, write_json, write_text
from ra.progress import Progress

COLUMNS = ("path", "label", "height", "width", "offset", "sha256")
# While images are read, every file has a row, with the reason why it is skipped, and its size and
# time of change, by which a resumed run notices that it has changed.
PART_COLUMNS = (*COLUMNS, "reason", "stamp")


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
    labels: bool = True,
    corrupted: tuple[list[str], dict[str, list[tuple[str, int]]]] | None = None,
    sets: Mapping[str, Sequence[str]] | None = None,
    inputs: Path | None = None,
    **share: Any,
) -> DatasetInfo:
    """Read the images of ``root`` into a prepared data set at ``out``.

    Interrupted, it continues behind the last image written, or at the first file that has changed
    since. Memory does not grow with the number of images beyond the list of their paths.

    Args:
        resize: shorter side in pixels after resizing; None keeps every image as it is.
        crop: side in pixels of the crops that will be taken; smaller images are bad images.
        on_bad_image: ``fail`` names the first bad image and stops, ``skip`` names all, goes on.
        workers: decoding processes.
        labels: the folders in train/ and val/ are classes.
        corrupted: classes and images by split, in place of those that are found; all degraded.
        sets: image sets of a VOC tree by split (``find_scenes``), whose images are scaled to fit a
            square of ``crop`` pixels.
        inputs: folder with the twin of each image; it is stored behind the image.
        share: ``val_share`` and ``val_seed`` of ``find_images``.

    Raises:
        UserError: a missing folder, bad images.
    """
    check_sizes(resize, crop)
    images: dict[str, list[tuple]]
    if sets:
        classes, images = find_scenes(root, sets)
    else:
        classes = find_classes(root) if labels else []
        classes, images = corrupted or (classes, find_images(root, classes, **share))
    scale = None
    if inputs:
        twins = find_twins(inputs)
        scale = find_scale(root, (path for path, _ in images["train"]), twins, crop)
        images = {s: [(*i, twin_of(i[0], twins)) for i in images[s]] for s in images}
    about: dict[str, Any] = {
        "root": root,
        "resize": resize,
        "crop": crop,
        "scale": scale,
        "square": bool(sets),
    }
    read = partial(_read, **about)
    out.mkdir(parents=True, exist_ok=True)
    # Parts of a run with other settings have other names, so they are never continued.
    tag = repr([about, decode, PART_COLUMNS, inputs and str(inputs)])
    tag = hashlib.sha256(tag.encode()).hexdigest()[:8]
    parts = {split: out / f"{split}-{tag}" for split in images}
    counts, digests = {}, []
    for split, part in parts.items():
        files = images[split]
        bad = _write_part(part, files, read, decode, on_bad_image, workers)
        _report_bad(out / f"{split}.skipped.txt", bad)
        counts[split] = len(files) - len(bad)
        if not counts[split]:
            raise UserError(f"{root}: no usable image for {split}, {len(bad)} bad ones")
    (out / "dataset.json").unlink(missing_ok=True)
    for split, part in parts.items():
        manifest = out / f"{split}.csv"
        _write_manifest(_rows(part), manifest)
        os.replace(_pixels(part), out / f"{split}.bin")
        digests.append(_digest(manifest))
    digest = hashlib.sha256(json.dumps([digests, classes, resize, crop]).encode()).hexdigest()
    known = (counts, resize, crop, decode, digest, corrupted is not None)
    pairs = (str(inputs) if inputs else None, scale)
    masks = bool(sets) and len(images["train"][0]) > 3
    info = DatasetInfo(name, str(root), tuple(classes), *known, *pairs, bool(sets), masks)
    write_json(out / "dataset.json", asdict(info))
    for split, part in parts.items():
        _rows(part).unlink()
        if not decode:
            (out / f"{split}.bin").unlink()
    return info


class Read(NamedTuple):
    """What is known of one image after reading it."""

    pair: Pair | None  # None for an image that cannot be used
    sha256: str  # of the file (and its twin's); empty for an image that cannot be used
    reason: str  # why the image cannot be used; empty where it can
    stamp: str  # see _stamp


def _read(
    item: tuple, root: Path, resize: int | None, crop: int, scale: int | None, square: bool
) -> Read:
    name, _, *more = item  # its twin; or its annotation and mask
    path, stamp = root / name, _stamp(root / name, *more)
    if not is_utf8(name):
        return Read(None, "", NOT_UTF8, stamp)
    try:
        pair = read_pair(path, more[0] if more else None, scale, resize, crop, square)
        digests = [_digest(file) for file in (path, *more)]
        all_of_it = hashlib.sha256("".join(digests).encode()).hexdigest() if more else digests[0]
        return Read(pair, all_of_it, "", stamp)
    except BadImage as error:
        return Read(None, "", str(error), stamp)
    except OSError as error:
        return Read(None, "", f"cannot be read: {error.strerror}", stamp)


def _digest(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(*paths: Path | str) -> str:
    """Size in bytes and time of the last change of files, in ns; ``-`` where there is no file."""
    try:
        found = [os.stat(path) for path in paths]
    except OSError:
        return "-"
    return " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)


def _rows(part: Path) -> Path:
    return part.with_name(part.name + ".csv.part")


def _pixels(part: Path) -> Path:
    return part.with_name(part.name + ".bin.part")


def _open_rows(path: Path, mode: str) -> IO[str]:
    return open(path, mode, newline="", encoding="utf-8", errors="surrogateescape")


def write_row(rows: IO[str], row: Iterable[Any]) -> None:
    """Write one row of a manifest; its first column is the path."""
    row = list(row)
    # Python 3.11 does not quote a carriage return of its own accord, and then cannot read it.
    quoting: Literal[0, 1] = csv.QUOTE_ALL if "\r" in row[0] else csv.QUOTE_MINIMAL
    csv.writer(rows, lineterminator="\n", quoting=quoting).writerow(row)


def _write_part(part, files, read, decode, on_bad_image, workers) -> list[str]:
    """Append rows and pixels behind what an interrupted run left; all bad images and why."""
    split = part.name.partition("-")[0]
    start, offset, bad = _recover(part, files, read, decode, keep_bad=on_bad_image != "fail")
    with (
        named(_pixels(part)),
        _open_rows(_rows(part), "a") as rows,
        open(_pixels(part), "ab") as pixels,
        Progress(total=len(files), initial=start, name=f"prepare {split}", unit="images") as bar,
    ):
        for number, ((path, label, *_), found) in enumerate(_map(read, files[start:], workers), 1):
            bar.update()
            if found.reason:
                bad.append(f"{escaped(path)} {found.reason}")
                if on_bad_image == "fail":
                    raise UserError(f"{bad[-1]}; mend or remove it, or set on_bad_image: skip")
            height, width = ("", "") if found.reason else found.pair[0].shape[:2]
            write_row(rows, (path, label, height, width, offset, *found[1:]))
            for image in found.pair if decode and not found.reason else ():
                if image is not None:
                    pixels.write(np.ascontiguousarray(image).data)
                    offset += image.size
            if number % 1000 == 0:  # a killed run repeats at most this much
                pixels.flush()
                rows.flush()
        pixels.flush()
        rows.flush()
        os.fsync(pixels.fileno())
    return bad


def _recover(
    part, files, read: partial, decode: bool, keep_bad: bool
) -> tuple[int, int, list[str]]:
    """Where to go on: (number of files done, bytes of their pixels, bad ones among them).

    Keeps the rows up to the first that is torn, whose pixels are not whole, or whose file is no
    longer that of the folder, and cuts both files behind the last of them.
    """
    root, scale = read.keywords["root"], read.keywords["scale"]
    for path in (_rows(part), _pixels(part)):
        path.touch()
    size, offset, done, bad = _pixels(part).stat().st_size, 0, 0, []
    with (
        atomic(_rows(part)) as temporary,
        _open_rows(_rows(part), "r") as rows,
        _open_rows(temporary, "w") as kept,
    ):
        for row, (path, label, *twin) in zip(csv.reader(rows), files, strict=False):
            if row[:2] != [path, str(label)] or row[7:] != [_stamp(root / path, *twin)]:
                break
            end = offset
            if row[6]:
                if not keep_bad:
                    break
                bad.append(f"{escaped(path)} {row[6]}")
            elif decode:
                height, width = int(row[2]), int(row[3])
                end += 3 * (height * width + (height * width // scale**2 if scale else 0))
                if end > size:
                    break
            write_row(kept, row)
            done, offset = done + 1, end
    os.truncate(_pixels(part), offset)
    return done, offset, bad


def _write_manifest(part: Path, manifest: Path) -> None:
    """Write the rows of usable images."""
    with (
        atomic(manifest) as temporary,
        _open_rows(part, "r") as rows,
        _open_rows(temporary, "w") as kept,
    ):
        write_row(kept, COLUMNS)
        for *row, reason, _ in csv.reader(rows):
            if not reason:
                write_row(kept, row)


def _report_bad(listing: Path, bad: list[str]) -> None:
    listing.unlink(missing_ok=True)
    if bad:
        shown = "\n".join(bad[:5]) + ("\n…" if len(bad) > 5 else "")
        print(f"skipped {len(bad)} bad images, listed in {listing}:\n{shown}", file=sys.stderr)
        write_text(listing, "\n".join(bad) + "\n")


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
