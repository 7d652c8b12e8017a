"""Settings that config.yaml and the command line share."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from ra.settings.base import Float, Int, Settings, setting

PAPER_RECOGNIZERS = ("resnet18", "resnet50", "resnet101", "densenet121", "vgg16_bn")
PAPER_WEIGHTS = "IMAGENET1K_V1"  # torchvision's weights when the paper was written
SCRATCH = "scratch"
METRICS = ("psnr", "pooled_psnr", "ssim", "image_loss")
PROTOCOL_HELP = (
    'released: SSIM with zeros beyond the border, "No Processing" rounded to 8 bits, as in the '
    "paper's script; ra: SSIM mirrored at the border, no rounding"
)
CLUSTERS_HELP = (
    "folder: images of one folder (a photograph's tiles, a camera, a video) are no independent "
    "sample, so significance.csv also has intervals and tests over folders; none: only over images"
)
METRICS_HELP = "measures of image quality, the package's or your own"


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def unique(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        raise ValueError("names something twice")
    return values


Lambda = Annotated[Float, Field(ge=0)]
Lambdas = Annotated[
    tuple[Lambda, ...], BeforeValidator(_tuple), AfterValidator(unique), Field(min_length=1)
]
Names = Annotated[tuple[str, ...], AfterValidator(unique)]
Some = Annotated[Names, Field(min_length=1)]


def _none(value: Any) -> Any:
    return None if value == "none" else value


class Sizes(Settings):
    resize: Annotated[Int | None, BeforeValidator(_none)] = setting(
        256,
        "shorter side in pixels after resizing; null (on the command line: none) keeps sizes",
        ge=1,
        metavar="PX",
    )
    crop: Int = setting(
        224,
        "side of the square crops in pixels; for sr divisible by the factor",
        ge=16,
        metavar="PX",
    )

    labels: bool = setting(
        True, "folders in train/ and val/ are classes; else they are only folders"
    )
    val_share: Float = setting(
        0.2,
        "without train/ and val/: share of the images for validation, by the content of each file",
        gt=0,
        lt=1,
    )
    val_seed: Int = setting(0, "of that choice", ge=0)


Sets = Annotated[
    tuple[Annotated[str, Field(pattern="^[^/]+/[^/]+/[^/]+$")], ...], Field(min_length=1)
]


class Images(Sizes):
    train_sets: Sets | None = setting(
        None,
        "image sets of a VOC tree for training: VOC2007/Main/trainval or "
        "VOC2012/Segmentation/train; its images are fitted into squares of `crop`",
        metavar="SET",
    )
    val_sets: Sets | None = setting(None, "and for validation: VOC2007/Main/test", metavar="SET")
    scenes: tuple[Annotated[Int, Field(ge=1)], Annotated[Int, Field(ge=1)]] = setting(
        (400, 300), "training and validation images of data `scenes`", metavar="N"
    )
    cache: bool = setting(True, "keep decoded pixels on disk (height x width x 3 bytes an image)")
    on_bad_image: Literal["fail", "skip"] = setting(
        "fail",
        "at an unreadable or too small image: stop and name it, or name and count all and go on",
    )


class Source(Sizes):
    """Where a command takes its images from; sizes hold for a plain folder only."""

    data: Path = setting(..., "prepared data set, or a folder of images", metavar="PATH")


class Architecture(Settings):
    """An architecture; further keys are its own settings (docs/config.md lists them)."""

    model_config = ConfigDict(extra="allow")
    arch: str = setting(..., "architecture")


class Schedule(Settings):
    """How long and how fast; the defaults are the paper's (docs/method.md)."""

    epochs: Int = setting(6, "passes over the training images", ge=1)
    batch_size: Int = setting(20, "images a step, over all processes", ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = setting("adam", "sgd has momentum 0.9")
    lr: Float = setting(1e-4, "learning rate at the start", gt=0)
    lr_schedule: Literal["step", "cosine"] = setting(
        "step", "step: times lr_gamma at lr_steps; cosine: to zero"
    )
    lr_steps: tuple[Int, ...] = setting(
        (4, 5), "epochs, counted from 0, that begin with a lower rate; step only"
    )
    lr_gamma: Float = setting(0.1, "factor at each of lr_steps", gt=0, le=1)
    warmup: Int = setting(0, "steps of linear warm-up", ge=0)
    weight_decay: Float = setting(0.0, "as the optimizer defines it", ge=0)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.lr_schedule == "cosine":
            done = step / (steps_per_epoch * self.epochs)
            return self.lr * factor * (1 + math.cos(math.pi * done)) / 2
        passed = sum(step // steps_per_epoch >= epoch for epoch in self.lr_steps)
        return self.lr * factor * self.lr_gamma**passed


class Machine(Settings):
    """Where a command computes; no result depends on it but through ``threads``."""

    device: str = setting(
        "auto",
        "auto (a GPU, else the CPU), cpu, cuda or cuda:N; auto and cuda wait for a free GPU",
        pattern="^(auto|cpu|cuda(:[0-9]+)?)$",
    )
    threads: Int = setting(
        0,
        "CPU threads of a job, 0 is torch's choice; sums depend on it, so it belongs to the "
        "experiment",
        ge=0,
    )
    jobs_per_gpu: Int = setting(1, "jobs that may share a GPU", ge=1)


class Runtime(Machine):
    """As ``Machine``, for commands that load images."""

    workers: Int = setting(0, "loader processes of a job; 0 loads in the job's own process", ge=0)
    precision: Literal["fp32", "tf32", "bf16"] = setting(
        "fp32",
        "arithmetic of training and evaluation: fp32; tf32, which rounds the factors of products "
        "on a GPU to 10 bits (torch's own default for convolutions); bf16, autocast",
    )


STEP = setting(
    "eager",
    "a training step on a GPU: eager, operator by operator; graph, recorded once and launched as "
    "a whole; compiled, the same of torch.compile's kernels, which take half a minute to make",
)


class TrainingRuntime(Runtime):
    """As ``Runtime``, for commands that train."""

    seed: Int = setting(0, "of initial weights, order, crops and training noise", ge=0, lt=2**60)
    checkpoint_seconds: Float = setting(
        60.0, "seconds between saved states; at most this much work is repeated", ge=0
    )
    log_steps: Int = setting(
        50, "steps between logged metrics, each of which waits for the device", ge=1
    )
    step: Literal["eager", "graph", "compiled"] = STEP
