"""One pass over P's output for every R at once: top-1, top-5, losses, PSNR and SSIM per image."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ra.data.degradations import no_processing
from ra.data.splits import Batch, ahead
from ra.progress import Progress, quiet
from ra.registry import NO_RECOGNIZER
from ra.runtime.devices import autocast, placed

# Metrics of the image, which every R shares, and their units.
QUALITY = {"psnr": "dB", "ssim": "1", "image_loss": "MSE"}
Z = 1.959963984540054  # 97.5 % of the normal distribution lie below


@dataclass(frozen=True)
class Evaluation:
    """What one P (and T) scored.

    Attributes:
        images: one row per validation image: index, label, psnr (dB), ssim, image_loss (MSE),
            and for every R its prediction, top1, top5 (0 or 1) and recognition_loss, in columns
            named ``R:top1`` and so on.
        strips: (input, output, target) of the first images, float (n, 3, h, w) in [0, 1].
    """

    images: pd.DataFrame
    strips: tuple[Tensor, Tensor, Tensor]


@torch.inference_mode()
def evaluate(
    processor: nn.Module | None,
    transformer: nn.Module | None,
    recognizers: dict[str, nn.Module],
    batches: Collection[Batch],
    scale: int,
    device: torch.device,
    precision: str = "fp32",
    strips: int = 6,
    name: str = "evaluate",
) -> Evaluation:
    """Judge P's output by every R; P runs once per image whatever the number of R's.

    Args:
        processor: P, or None for the 'no processing' row.
        transformer: T between P and R, or None. Image quality is always that of P's output.
        recognizers: name -> R, images in [0, 1] -> logits.
        batches: validation batches, in the manifest's order.
        scale: the task's up-scaling factor (for 'no processing').
        strips: how many images to keep for the visual strip, spread over the split.
        name: of the job, on its progress line.
    """
    models = [m for m in (processor, transformer, *recognizers.values()) if m is not None]
    for model in models:
        placed(model, device).eval()
    columns: dict[str, list[Tensor]] = {}
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    count = len(batches)
    every = max(1, count // strips)
    bar = Progress(ahead(batches), count, name=name, unit="batch")
    begin = time.perf_counter()
    for number, batch in enumerate(bar):
        batch = batch.to(device)
        with autocast(device, precision):
            output = processor(batch.input) if processor else no_processing(batch.input, scale)
            output = output.float()
            read = transformer(output) if transformer else output
            logits = {name: r(read).float() for name, r in recognizers.items()}
        row = {"index": batch.index, "label": batch.label, **image_quality(output, batch.target)}
        for judge, values in logits.items():
            for metric, value in recognition(values, batch.label).items():
                row[f"{judge}:{metric}"] = value
        for column, value in row.items():
            columns.setdefault(column, []).append(value)
        if number % every == 0 and len(kept) < strips:
            kept.append(tuple(part[0].cpu() for part in (batch.input, output, batch.target)))
    table = {column: torch.cat(parts).cpu().numpy() for column, parts in columns.items()}
    if not quiet():
        seconds = time.perf_counter() - begin
        print(f"{name}: {len(recognizers)} R's took {seconds:.2f} s", file=sys.stderr)
    pictures = tuple(torch.stack(part) for part in zip(*kept, strict=True))
    return Evaluation(pd.DataFrame(table), pictures)


def image_quality(output: Tensor, target: Tensor) -> dict[str, Tensor]:
    """PSNR (dB), SSIM and MSE of each image; both (N, 3, H, W) in [0, 1] -> (N,).

    PSNR is taken per image and averaged later, not from the batch's mean MSE.
    """
    # Imported here: a second that training jobs need not pay.
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    clamped = output.clamp(0, 1)
    options = {"data_range": 1.0, "reduction": "none"}
    psnr = peak_signal_noise_ratio(clamped, target, dim=(1, 2, 3), **options)
    return {
        "psnr": psnr.clamp(max=100),  # of a perfect output it is infinite, which no mean survives
        "ssim": structural_similarity_index_measure(clamped, target, **options),
        "image_loss": (output - target).square().mean(dim=(1, 2, 3)),
    }


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


def summarise(images: pd.DataFrame, identity: dict[str, object]) -> pd.DataFrame:
    """Tidy rows: identity + evaluation_r, metric, value, low, high, n.

    Image-quality rows have evaluation_r "none". Accuracies are in percent with a 95 % Wilson
    interval; means of other metrics with a 95 % normal interval (1.96 standard errors).
    """
    rows = []
    for column in images.columns.drop(["index", "label"]):
        recognizer, _, metric = column.rpartition(":")
        if metric != "prediction":
            statistics = accuracy if metric in ("top1", "top5") else mean
            rows.append(
                {**identity, "evaluation_r": recognizer or NO_RECOGNIZER, "metric": metric}
                | statistics(images[column])
            )
    return pd.DataFrame(rows)


def accuracy(hits: pd.Series) -> dict[str, float]:
    """Percentage of hits (0 or 1), its 95 % Wilson interval and n."""
    # Wilson's interval written out: scipy's costs most of a second of imports in each job.
    n, share = len(hits), float(hits.mean())
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return {"value": 100 * share, "low": 100 * low, "high": 100 * high, "n": n}


def mean(values: pd.Series) -> dict[str, float]:
    """Mean, its 95 % normal interval and n."""
    error = 1.96 * values.std() / len(values) ** 0.5
    value = values.mean()
    return {"value": value, "low": value - error, "high": value + error, "n": len(values)}
