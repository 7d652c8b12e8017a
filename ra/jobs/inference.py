"""``ra process`` and ``ra predict``: a trained processor on a person's own images."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ra.data.images import BadImage, to_rgb
from ra.errors import UserError, one_line
from ra.files import atomic, escaped
from ra.inference.files import find_inputs, plan, read, save, stored_mode
from ra.inference.predict import classify, degrade, open_classifier, table, views
from ra.inference.process import TILE, load, result_mode
from ra.models.names import distinct
from ra.progress import Progress, quiet
from ra.runtime.devices import use_device


def run_process(
    model: str,
    inputs: Sequence[str],
    out: Path,
    transformer: bool = False,
    tile: int = TILE,
    device: str = "auto",
    threads: int = 0,
) -> None:
    """Restore images; a bad one is named and the others are processed.

    Args:
        model, transformer, tile: as ``ra.inference.process.load`` takes them.
        inputs, out: as ``ra.inference.files.plan`` takes them.

    Raises:
        UserError: some images could not be processed; each was named on stderr.
    """
    pairs = plan(inputs, out)
    pixels, begin = 0, time.perf_counter()
    with use_device(device, threads) as where:
        processor = load(model, transformer, where, tile)
        bar = Progress(pairs, name="process", unit="images")

        def on_tile(done: int, of: int) -> None:
            bar.set_postfix_str(f"tile {done} of {of}" if of > 1 else "", refresh=of > 1)

        def work(source: Path, result: Path) -> None:
            nonlocal pixels
            image = read(source)
            stored_mode(result, result_mode(image), max(image.size) * processor.scale)
            restored = processor(image, on_tile)
            save(restored, result)
            pixels += restored.width * restored.height

        bad = _each(bar, work)
    seconds = time.perf_counter() - begin
    if not quiet():
        rate = (
            f"{pixels / 1e6:.1f} megapixels in {seconds:.1f} s, {pixels / 1e6 / seconds:.2g} MP/s"
        )
        print(f"process: {len(pairs) - bad} images, {rate} -> {escaped(out)}")
    if bad:
        raise UserError(f"{bad} of {len(pairs)} images were not processed; each is named above")


def run_predict(
    model: str,
    inputs: Sequence[str],
    recognizers: Sequence[str],
    resize: int | None = None,
    degraded: bool = False,
    csv: Path | None = None,
    transformer: bool = False,
    tile: int = TILE,
    device: str = "auto",
    threads: int = 0,
) -> pd.DataFrame:
    """Classify images before and after a processor, and print the answers.

    Args:
        model, transformer, tile: as ``ra.inference.process.load`` takes them.
        inputs: files, folders and glob patterns.
        recognizers: as ``ra.inference.predict.open_classifier`` takes them.
        resize: side in pixels of the middle square to classify; None is the whole image.
        degraded: the images are clean; degrade them by the processor's task first.
        csv: file for the answers.

    Returns:
        One row per image and recognizer: image, recognizer, before, before_p, after, after_p
        (both in percent).

    Raises:
        UserError: some images could not be classified; each was named on stderr.
    """
    if resize is not None and resize < 1:
        raise UserError(f"--resize: {resize} px; it must be at least 1")
    paths = [path for path, _ in find_inputs(inputs)]
    rows: list[dict] = []
    warnings: dict[str, str] = {}  # one per recognizer
    with use_device(device, threads) as where:
        processor = load(model, transformer, where, tile)
        classifiers = [open_classifier(name, where) for name in recognizers]
        distinct(zip((one.name for one in classifiers), recognizers, strict=True))

        def work(path: Path, number: int) -> None:
            image = np.asarray(to_rgb(read(path)))
            image = degrade(image, processor, number) if degraded else image
            before, after = views(processor, image, resize)
            size = (after.shape[3], after.shape[2])
            answers = []
            for classifier in classifiers:
                row = {"image": escaped(path), "recognizer": classifier.name}
                for when, view in (("before", before), ("after", after)):
                    row[when], row[f"{when}_p"] = classify(classifier, view)
                answers.append(row)
                if warning := classifier.warning(size):
                    warnings.setdefault(classifier.name, warning)
            rows.extend(answers)

        numbered = [(path, number) for number, path in enumerate(paths)]
        bad = _each(Progress(numbered, name="predict", unit="images"), work)
    answers = pd.DataFrame(rows)
    if csv:
        with atomic(csv) as temporary:
            answers.to_csv(temporary, index=False)
    if rows:
        print(table(answers))
    for warning in warnings.values():
        print(f"warning: {warning}", file=sys.stderr)
    if bad:
        raise UserError(f"{bad} of {len(paths)} images were not classified; each is named above")
    return answers


def _each(items: Iterable[tuple[Path, Any]], work: Callable[[Path, Any], None]) -> int:
    """Call ``work`` with each (path, ...); name those that fail on stderr and count them.

    A fault of this program is raised as it is.
    """
    bad = 0
    for path, other in items:
        try:
            work(path, other)
        except Exception as error:
            name, line = escaped(path), one_line(error)
            if isinstance(error, BadImage):
                line = f"{name} {error}"
            elif line is None:
                raise
            bad += 1
            Progress.write(line if name in line else f"{name}: {line}", sys.stderr)
    return bad
