"""The released script's way of working, rebuilt from its description, against ours.

Files are decoded and resized in every epoch, JPEG goes through a temporary file. In training, R
computes gradients of its weights, which nothing uses, and runs for plain processing as well;
accuracy and PSNR are taken at every step, which waits for the device. In evaluation, P runs again
for every R, SSIM is taken image by image, PSNR from the batch's mean MSE. Torch's own modules and
the system's malloc compute. Random numbers, networks, optimizer and schedule are ours, so both ways
compute the same results where ours computes in fp32; the released way always does.
"""

import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from ra.bench.measure import spread, verdict
from ra.bench.scene import (
    Options,
    Work,
    objective_of,
    prepared,
    recognizer_of,
    training_crops,
    training_schedule,
)
from ra.bench.training import complete
from ra.data.batches import TrainingKeys, loader, validation_keys
from ra.data.dataset import read_info
from ra.data.degradations import VALIDATION, Key, build_task, random_generator
from ra.data.folders import find_classes, find_images
from ra.data.images import resized
from ra.data.splits import Batch, Crops, ImageSplit
from ra.evaluation.evaluate import evaluate
from ra.settings.shared import PAPER_RECOGNIZERS, Schedule
from ra.training.objectives import Objective

TRAINING, EVALUATION = 2.0, 3.0  # targets: how many times as fast ours is
# What the released script runs: its processor, and the recognizers of its evaluation.
PAPER = {"channels": 64, "blocks": 5, "recognizers": PAPER_RECOGNIZERS}
EPOCHS = 2  # the cache pays from the second on; the first is where it is read from disk


class ReleasedImages:
    """Decodes, resizes, crops and degrades one file at each access; (input, target, label)."""

    def __init__(self, data: Path, split: str, task: str) -> None:
        info = read_info(data)
        self.root, self.resize, self.crop = Path(info.root), info.resize, info.crop
        self.files = find_images(self.root, find_classes(self.root))[split]
        self.task, self.degradation = task, build_task(task)

    def __len__(self) -> int:
        return len(self.files)

    def item(self, key: Key) -> tuple[Tensor, Tensor, int]:
        path, label = self.files[key[2]]
        with Image.open(self.root / path) as opened:
            image = opened.convert("RGB")
        image = image.resize(resized(image.size, self.resize), Image.Resampling.BILINEAR)
        crop = self._crop(image, key)
        target = _to_tensor(crop)
        return getattr(self, f"_{self.task}")(crop, target, key), target, label

    def _crop(self, image: Image.Image, key: Key) -> Image.Image:
        free_x, free_y = image.width - self.crop, image.height - self.crop
        if key[1] == VALIDATION:
            left, top, flip = round(free_x / 2), round(free_y / 2), 1.0
        else:
            y, x, flip = random_generator(key, 0).random(3)
            left, top = int(x * (free_x + 1)), int(y * (free_y + 1))
        crop = image.crop((left, top, left + self.crop, top + self.crop))
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip < 0.5 else crop

    def _sr(self, crop: Image.Image, target: Tensor, key: Key) -> Tensor:
        side = self.crop // self.degradation.factor
        return _to_tensor(crop.resize((side, side), Image.Resampling.BICUBIC))

    def _dn(self, crop: Image.Image, target: Tensor, key: Key) -> Tensor:
        noise = random_generator(key, 1).standard_normal(tuple(target.shape), dtype=np.float32)
        return (target + self.degradation.sigma * torch.from_numpy(noise)).clamp(0, 1)

    def _jpeg(self, crop: Image.Image, target: Tensor, key: Key) -> Tensor:
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            crop.save(file.name, quality=self.degradation.quality)
            return _to_tensor(Image.open(file.name))


def _to_tensor(image: Image.Image) -> Tensor:
    """PIL RGB -> float (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


def _batches(images: ReleasedImages, keys, device: torch.device) -> Iterator[Batch]:
    for batch in keys:
        inputs, targets, labels = zip(*map(images.item, batch), strict=True)
        index = torch.tensor([key[2] for key in batch])
        parts = torch.stack(inputs), torch.stack(targets), torch.tensor(labels), index
        yield Batch(*(part.to(device) for part in parts))


def train_released(
    objective: Objective, images: ReleasedImages, schedule: Schedule, device: torch.device
) -> list[dict[str, float]]:
    """The released loop; returns the mean losses and metrics of every epoch.

    Args:
        objective: one with a recognizer; with weight 0 it trains plain processing.
    """
    for module in objective.modules.values():
        module.to(device).train()
    recognizer, logits = objective.recognizer.to(device).requires_grad_(True), []
    recognizer.register_forward_hook(lambda _, __, output: logits.append(output.detach()))
    parameters = [p for module in objective.modules.values() for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=schedule.lr)
    keys = TrainingKeys(len(images), schedule.batch_size, schedule.epochs, seed=0)
    history, sums = [], {}
    for step, batch in enumerate(_batches(images, keys, device), 1):
        optimizer.param_groups[0]["lr"] = schedule.lr_at(step - 1, keys.steps_per_epoch)
        losses = objective.losses(batch)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        values = {name: loss.item() for name, loss in losses.items()}  # each waits for the device
        values |= _accuracies(logits.pop(), batch.label)
        values["psnr"] = 10 * np.log10(1 / values["image"])
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value * len(batch.label)
        if step % keys.steps_per_epoch == 0:
            history.append({name: total / len(images) for name, total in sums.items()})
            sums = {}
    return history


def _accuracies(logits: Tensor, label: Tensor) -> dict[str, float]:
    """Top-1 and top-5 (%) of ``logits`` (N, classes)."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices == label[:, None]
    found = {"top1": best[:, 0], "top5": best.any(dim=1)}
    return {name: 100 * hits.float().mean().item() for name, hits in found.items()}


@torch.inference_mode()
def evaluate_released(
    processor: nn.Module,
    recognizers: dict[str, nn.Module],
    images: ReleasedImages,
    batch_size: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """One whole pass for every R: top-1, top-5 (%), PSNR of mean MSE (dB), SSIM, losses."""
    results = {}
    for name, recognizer in recognizers.items():
        processor.to(device).eval()
        recognizer.to(device).eval()
        sums: dict[str, float] = {}
        for batch in _batches(images, validation_keys(len(images), batch_size), device):
            output = processor(batch.input)
            logits = recognizer(output)
            count = len(batch.label)
            error = F.mse_loss(output, batch.target).item()
            ssim = 0.0
            for restored, target in zip(output, batch.target, strict=True):
                ssim += structural_similarity_index_measure(
                    restored[None], target[None], data_range=1.0
                ).item()
            values = {
                **_accuracies(logits, batch.label),
                "image_loss": error,
                "psnr": 10 * np.log10(1 / error),
                "ssim": ssim / count,
                "recognition_loss": F.cross_entropy(logits, batch.label).item(),
            }
            for metric, value in values.items():
                sums[metric] = sums.get(metric, 0.0) + value * count
        results[name] = {metric: total / len(images) for metric, total in sums.items()}
    return results


def compare(options: Options) -> list[dict[str, object]]:
    """How many times as fast as the released way ours is, training and evaluation.

    Ours in fp32, which computes the same, and in bf16; with the networks of ``options``, and for
    one task with those of the paper, plain processing as well.
    """
    paper = replace(options, **PAPER)
    rows = []
    for work in options.works:
        for task in options.tasks:
            rows += _training(options, work, task, "ra")
        rows += _evaluation(options, work, options.task)
        for mode in ("ra", "plain"):
            rows += _training(paper, work, options.task, mode)
        rows += _evaluation(paper, work, options.task)
    return rows


def _training(options: Options, work: Work, task: str, mode: str) -> list[dict[str, object]]:
    def in_precision(chosen: Options) -> Callable[[], object]:
        return ours(chosen, work, task, mode)

    what, theirs = f"training, {mode}", released(options, work, task, mode)
    return _rows(options, work, task, what, theirs, in_precision, TRAINING)


def ours(options: Options, work: Work, task: str, mode: str) -> Callable[[], object]:
    """``EPOCHS`` of ``ra train`` for the objective ``mode``."""
    crops, objective = training_crops(options, work, task), objective_of(options, mode, task)
    schedule = training_schedule(work, EPOCHS)
    return lambda: complete(objective, crops, schedule, options, checkpoint_seconds=60)


def released(options: Options, work: Work, task: str, mode: str) -> Callable[[], object]:
    """The same training in the released way, whose plain processing is ``ra`` with weight 0."""
    objective = objective_of(options, "ra", task)
    if mode == "plain":
        objective.weight = 0.0
    images = ReleasedImages(_prepared(options, work), "train", task)
    schedule = training_schedule(work, EPOCHS)
    return lambda: train_released(objective, images, schedule, options.device)


def _evaluation(options: Options, work: Work, task: str) -> list[dict[str, object]]:
    data = _prepared(options, work)
    images = ReleasedImages(data, "val", task)
    crops = Crops(ImageSplit(data, "val"), build_task(task))
    batches = loader(crops, validation_keys(len(crops)), options.workers, options.device)
    processor, theirs = (objective_of(options, "plain", task).modules["processor"] for _ in "ab")
    networks = {arch: recognizer_of(options, arch) for arch in options.recognizers}
    their_networks = deepcopy(networks)
    scale = build_task(task).scale

    def in_precision(chosen: Options) -> Callable[[], object]:
        return lambda: evaluate(
            processor, None, networks, batches, scale, chosen.device, chosen.precision
        )

    def their_way() -> object:
        return evaluate_released(theirs, their_networks, images, work.batch_size, options.device)

    what = f"evaluation, {len(networks)} R"
    return _rows(options, work, task, what, their_way, in_precision, EVALUATION)


def _prepared(options: Options, work: Work) -> Path:
    return prepared(options, work.crop, work.batch_size * work.steps)


def _rows(
    options: Options,
    work: Work,
    task: str,
    what: str,
    theirs: Callable[[], object],
    in_precision: Callable[[Options], Callable[[], object]],
    target: float,
) -> list[dict[str, object]]:
    """A row for each precision of ours; all are timed in turn with the released way."""
    precisions = list(dict.fromkeys((options.precision, "bf16")))
    ways = {name: in_precision(replace(options, precision=name)) for name in precisions}
    seconds = options.interleaved({"released": theirs, **ways})
    rows = []
    for name in precisions:
        ratio = spread(seconds["released"], seconds[name])
        rows.append(
            {
                "px": work.crop,
                "batch": work.batch_size,
                "task": task,
                "P": f"{options.channels} x {options.blocks}",
                "what": what,
                "ours in": name,
                "released s": min(seconds["released"]),
                "ours s": min(seconds[name]),
                **ratio,
                **verdict(ratio["best"], target, at_least=True),
            }
        )
    return rows
