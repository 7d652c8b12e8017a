"""Evaluation of one processor with every recognizer, in one pass over the validation images."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ra.data.degradations import no_processing
from ra.data.prefetch import ahead
from ra.evaluation import quality
from ra.evaluation.pooled import finish
from ra.evaluation.statistics import POOLED, mean, share
from ra.models.recognizers import Recognizer
from ra.progress import Progress
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import autocast, placed

HITS = ("top1", "top5", "agreement", "agreement5")  # shares of the images, in percent
OWN = {"top1": "agreement", "top5": "agreement5"}  # names of hits against its own answers


@dataclass(frozen=True)
class Evaluation:
    """Scores of one processor (and transformer).

    Attributes:
        images: one row per validation image: index, label, each measure of image quality, and for
            every recognizer its metrics, in columns named ``RECOGNIZER:METRIC``: of classifiers
            prediction, top1, top5 (0 or 1) and recognition_loss, of detectors map50 and map, of
            segmenters miou (their ``contributions``). Without labels, its answer to the clean image
            is the label: clean, and agreement and agreement5 instead of top1 and top5.
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
    recognizers: dict[str, Recognizer],
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
        recognizers: by name.
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
    rows: list[dict[str, Any]] = []
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
            answers = {r: network(seen) for r, network in recognizers.items()}
            truth = {r: batch if labels else n.labelled(batch) for r, n in recognizers.items()}
        if len(rows) % every == 0 and len(kept) < strips:
            kept.append(tuple(part[0].cpu() for part in (batch.input, output, batch.target)))
        row = {"index": batch.index, "label": batch.label}
        row |= quality.image_quality(output, batch.target, measures)
        for r, network in recognizers.items():
            found = network.compare(answers[r], truth[r])
            if not labels and "top1" in found:
                row[f"{r}:clean"] = truth[r].label
                found = {OWN.get(metric, metric): values for metric, values in found.items()}
            row |= {f"{r}:{metric}": values for metric, values in found.items()}
        rows.append(row)
    images = {}
    for column in rows[0]:
        recognizer, _, name = column.rpartition(":")
        for metric, values in finish(name, _joined([row[column] for row in rows])).items():
            images[f"{recognizer}:{metric}" if recognizer else metric] = values
    pictures = tuple(torch.stack(part) for part in zip(*kept, strict=True))
    return Evaluation(pd.DataFrame(images), pictures, perf_counter() - begin)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts).cpu().numpy()
    return [entry for part in parts for entry in part]


def summarise(images: pd.DataFrame, identity: dict[str, object]) -> pd.DataFrame:
    """Tidy rows: identity + evaluation_r, metric, value, low, high, n.

    Image-quality rows have evaluation_r "none". Accuracies and agreements are in percent with a
    95 % Wilson interval, mAP and mIoU with that of the jackknife; means of other metrics have a
    95 % normal interval.
    """
    rows = []
    for column in images.columns.drop(["index", "label"]):
        recognizer, _, metric = column.rpartition(":")
        if metric in ("prediction", "clean"):
            continue
        if metric in (*HITS, *POOLED):
            found = share(images[column], metric)
        else:
            known = vars(quality.MEASURES.get(metric)) if metric in quality.MEASURES else {}
            found = known.get("average", mean)(images[column])
        who = {"evaluation_r": recognizer or NO_RECOGNIZER, "metric": metric}
        rows.append({**identity, **who, **found})
    return pd.DataFrame(rows)
