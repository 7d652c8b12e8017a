"""Evaluation of one processor with every recognizer, in one pass over the validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ra.data.degradations import no_processing
from ra.data.prefetch import ahead
from ra.evaluation import quality
from ra.evaluation.statistics import accuracy, mean
from ra.progress import Progress
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import autocast, placed

HITS = ("top1", "top5", "agreement", "agreement5")  # shares of the images, in percent


@dataclass(frozen=True)
class Evaluation:
    """Scores of one processor (and transformer).

    Attributes:
        images: one row per validation image: index, label, each measure of image quality, and for
            every recognizer its prediction, top1, top5 (0 or 1) and recognition_loss, in columns
            named ``RECOGNIZER:top1`` and so on. Without labels, its answer to the clean image is
            the label: clean, and agreement and agreement5 instead of top1 and top5.
        strips: (input, output, target) of the first images, float (n, 3, h, w) in [0, 1].
        seconds: how long the pass took.
    """

    images: pd.DataFrame
    strips: tuple[Tensor, ...]
    seconds: float


@torch.inference_mode()
def evaluate(
    processor: nn.Module | None,
    transformer: nn.Module | None,
    recognizers: dict[str, nn.Module],
    batches: DataLoader,
    scale: int,
    device: torch.device,
    precision: str = "fp32",
    strips: int = 6,
    name: str = "evaluate",
    measures: Mapping[str, quality.Measure] | None = None,
    labels: bool = True,
    rounded: bool = False,
) -> Evaluation:
    """Evaluate a processor with every recognizer; it processes each image once.

    Args:
        processor: None for the row "No Processing".
        transformer: between processor and recognizer, or None. Image quality is always that of
            the processor's output.
        recognizers: by name; images in [0, 1] -> logits.
        batches: validation batches, in the manifest's order.
        scale: the task's up-scaling factor (for "No Processing").
        strips: how many images to keep for the visual strip, spread over the split.
        name: of the job, on its progress line.
        measures: of image quality, by name; None takes the default ones.
        labels: the images have labels.
        rounded: round what "No Processing" gives to 8 bits, as the released script does.
    """
    for model in (processor, transformer, *recognizers.values()):
        if model is not None:
            placed(model, device).eval()
    rows: list[dict[str, Tensor]] = []
    kept: list[tuple[Tensor, ...]] = []
    every = max(1, len(batches) // strips)
    begin = perf_counter()
    for batch in Progress(ahead(batches), len(batches), name=name, unit="batch"):
        batch = batch.to(device)
        with autocast(device, precision):
            given = batch.input
            output = processor(given) if processor else no_processing(given, scale, rounded)
            output = output.float()
            seen = transformer(output) if transformer else output
            logits = {r: network(seen).float() for r, network in recognizers.items()}
            clean = {r: network(batch.target) for r, network in recognizers.items() if not labels}
        if len(rows) % every == 0 and len(kept) < strips:
            kept.append(tuple(part[0].cpu() for part in (batch.input, output, batch.target)))
        row = {"index": batch.index, "label": batch.label}
        row |= quality.image_quality(output, batch.target, measures)
        for r, answer in logits.items():
            metrics = recognition(answer, batch.label) if labels else agreement(answer, clean[r])
            row |= {f"{r}:{metric}": values for metric, values in metrics.items()}
        rows.append(row)
    images = {name: torch.cat([row[name] for row in rows]).cpu().numpy() for name in rows[0]}
    pictures = tuple(torch.stack(part) for part in zip(*kept, strict=True))
    return Evaluation(pd.DataFrame(images), pictures, perf_counter() - begin)


def recognition(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Prediction, top-1, top-5 hits and cross-entropy of each image; logits (N, classes)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hit = best == label[:, None]
    return {
        "prediction": best[:, 0],
        "top1": hit[:, 0].to(torch.uint8),
        "top5": hit.any(dim=1).to(torch.uint8),
        "recognition_loss": F.cross_entropy(logits, label, reduction="none"),
    }


def agreement(logits: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """As ``recognition``, with the answer to the clean image for a label; both (N, classes)."""
    label = clean.argmax(dim=1)
    found = recognition(logits, label)
    hits = {"agreement": found.pop("top1"), "agreement5": found.pop("top5")}
    return {"clean": label, **hits, **found}


def summarise(images: pd.DataFrame, identity: dict[str, object]) -> pd.DataFrame:
    """Tidy rows: identity + evaluation_r, metric, value, low, high, n.

    Image-quality rows have evaluation_r "none". Accuracies and agreements are in percent with a
    95 % Wilson interval, means of other metrics have a 95 % normal interval.
    """
    rows = []
    for column in images.columns.drop(["index", "label"]):
        recognizer, _, metric = column.rpartition(":")
        if metric not in ("prediction", "clean"):
            known = vars(quality.MEASURES.get(metric)) if metric in quality.MEASURES else {}
            statistics = accuracy if metric in HITS else known.get("average", mean)
            rows.append(
                {**identity, "evaluation_r": recognizer or NO_RECOGNIZER, "metric": metric}
                | statistics(images[column])
            )
    return pd.DataFrame(rows)
