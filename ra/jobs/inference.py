"""``ra process`` and ``ra predict``: a trained processor on a person's own images."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ra.data.images import BadImage, to_rgb
from ra.errors import UserError, one_line
from ra.files import escaped, write_csv
from ra.inference.deep import Deep
from ra.inference.files import find_inputs, plan, read, save, stored_mode
from ra.inference.predict import classify, degrade, open_classifier, summary, table, views
from ra.inference.process import load, result_mode
from ra.models.names import distinct
from ra.progress import Progress, say
from ra.runtime.devices import use_device
from ra.settings.commands import Predict, Process


def process(o: Process) -> str:
    """Restore images; a bad one is named and the others are processed.

    Raises:
        UserError: some images could not be processed; each was named on stderr.
    """
    pairs = plan(o.inputs, o.out)
    pixels, begin = 0, time.perf_counter()
    with use_device(o.machine) as where:
        processor = load(o.model, o.transformer, where, o.tile)
        bar = Progress(pairs, name="process", unit="images")

        def on_tile(done: int, of: int) -> None:
            bar.set_postfix_str(f"tile {done} of {of}" if of > 1 else "", refresh=of > 1)

        def work(source: Path, result: Path) -> None:
            nonlocal pixels
            image = read(source)
            stored_mode(result, result_mode(image), max(image.size) * processor.scale)
            restored = processor(image, on_tile)
            save(restored, result)
            pixels += math.prod(restored.size)

        bad = _each(bar, work)
    seconds = time.perf_counter() - begin
    rate = f"{pixels / 1e6:.1f} megapixels in {seconds:.1f} s, {pixels / 1e6 / seconds:.2g} MP/s"
    said = f"process: {len(pairs) - bad} images, {rate} -> {escaped(o.out)}"
    return _ended(said, bad, f"{bad} of {len(pairs)} images were not processed")


def predict(o: Predict) -> str:
    """Classify images before and after a processor, and print the answers.

    Raises:
        UserError: some images could not be classified; each was named on stderr.
    """
    paths = [path for path, _ in find_inputs(o.inputs)]
    rows: list[dict] = []
    warnings: dict[str, str] = {}  # one per recognizer
    with use_device(o.machine) as where:
        processor = load(o.model, o.transformer, where, o.tile)
        classifiers = [open_classifier(name, where) for name in o.recognizers]
        distinct(zip((one.name for one in classifiers), o.recognizers, strict=True))

        def work(path: Path, number: int) -> None:
            image = read(path)
            image = np.asarray(to_rgb(image.shallow() if isinstance(image, Deep) else image))
            image = degrade(image, processor, number) if o.degrade else image
            before, after = views(processor, image, o.resize)
            answers = []
            for classifier in classifiers:
                row: dict[str, Any] = {"image": escaped(path), "recognizer": classifier.name}
                row["before"], row["before_p"] = classify(classifier, before)
                row["after"], row["after_p"] = classify(classifier, after)
                answers.append(row)
                if warning := classifier.warning((after.shape[3], after.shape[2])):
                    warnings.setdefault(classifier.name, warning)
            rows.extend(answers)

        numbered = [(path, number) for number, path in enumerate(paths)]
        bad = _each(Progress(numbered, name="predict", unit="images"), work)
    answers = pd.DataFrame(rows)
    if o.csv:
        write_csv(o.csv, answers)
    if rows:
        print(table(answers), end="\n\n")
    for warning in warnings.values():
        print(f"warning: {warning}", file=sys.stderr)
    said = summary(answers) if rows else ""
    return _ended(said, bad, f"{bad} of {len(paths)} images were not classified")


def _ended(said: str, bad: int, failed: str) -> str:
    """The command's last line, or the error that ``bad`` images are."""
    if bad:
        say(said)
        raise UserError(f"{failed}; each is named above")
    return said


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
