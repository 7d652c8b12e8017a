"""The last line of a command: what came out, and where."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ra.files import escaped

SUFFIXES = [".html", ".safetensors", ".csv", ".json"]  # which file of several is named


def outcome(command: str, said: str | None, written: Iterable[Path]) -> str | None:
    """``WHAT -> FILE and N more files``; ``said`` alone where no file is left, or None.

    Args:
        said: what the command says of its result, perhaps with the place; where it says nothing,
            its files are looked at.
        written: the files that the command wrote.
    """
    kept = sorted(filter(Path.exists, written), key=lambda path: (_rank(path), path.name))
    if not kept or (said and " -> " in said):
        return said
    more = f" and {len(kept) - 1} more file{'s'[: len(kept) - 2]}" if len(kept) > 1 else ""
    return f"{said or _found(kept) or command} -> {escaped(kept[0])}{more}"


def _rank(path: Path) -> int:
    return SUFFIXES.index(path.suffix) if path.suffix in SUFFIXES else len(SUFFIXES)


def _found(files: list[Path]) -> str | None:
    """What an evaluation or a training found, from the files that it wrote."""
    named = {path.name: path for path in files}
    if {"evaluation.csv", "images.csv"} <= named.keys():
        return headline(named["evaluation.csv"])
    if "training.csv" in named and files[0].suffix == ".safetensors":  # ra bench has one, too
        from ra.jobs.record import run_name
        from ra.models.checkpoints import read_header
        from ra.reporting.names import HEADLINES

        stored = read_header(files[0])
        for metric, title in HEADLINES.items():
            if f"clean_{metric}" in stored:
                clean = stored[f"clean_{metric}"]
                return f"{stored['arch']}: {title} {clean:.1f} % of clean images"
        if "objective" in stored:
            keys = ("task", "objective", "lambda", "recognizer", "seed")
            return run_name(*(stored[key] for key in keys)) + _losses(named["training.csv"])
    return None


def _losses(path: Path) -> str:
    with path.open(newline="") as file:
        epochs = list(csv.DictReader(file))
    if not epochs:
        return ""
    others = ("epoch", "lr", "seconds", "images_per_s")
    losses = {name: float(value) for name, value in epochs[-1].items() if name not in others}
    listed = ", ".join(f"{name} loss {value:.3g}" for name, value in losses.items())
    return f": {listed} in epoch {len(epochs)}"


def headline(path: Path) -> str:
    """Of an evaluation.csv: ``RA sr 0.001 resnet18 seed0: 77.9 % ResNet-18, 70.4 % unseen``."""
    from ra.jobs.record import run_name
    from ra.reporting.names import HEADLINES, recognizer_title
    from ra.reporting.tables import read_evaluations

    tidy = read_evaluations([path])
    about: Any = tidy.iloc[0]
    shares = tidy[tidy.metric.isin(HEADLINES)].set_index("evaluation_r").value
    trained = [name for name in about.training_r.split("+") if name in shares]
    others = shares.drop(trained)
    parts = [f"{shares[name]:.1f} % {recognizer_title(name)}" for name in trained]
    if len(others):
        unseen = "unseen" if trained else f"mean of {len(others)} recognizers"
        whose = unseen if len(others) > 1 or trained else recognizer_title(others.index[0])
        parts.append(f"{others.mean():.1f} % {whose}")
    parts += [f"{value:.1f} dB" for value in tidy[tidy.metric == "psnr"].value]
    keys = ("task", "p_model", "lambda", "training_r", "seed")
    return run_name(*(about[key] for key in keys)) + ": " + ", ".join(parts)
