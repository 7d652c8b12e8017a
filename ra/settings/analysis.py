"""Settings of the analyses that config.yaml and the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ra.settings.base import Float, Int, Settings, setting


class Scenes(Settings):
    """Size of a detection set that is composed of the embedded photographs."""

    side: Int = setting(
        96,
        "images are fitted into a square of this side, pixels; for sr divisible by the factor",
        ge=32,
    )
    train_images: Int = setting(400, "composed: training images", ge=1)
    val_images: Int = setting(300, "composed: validation images", ge=1)


class BlackBoxService(Settings):
    """How an HTTP endpoint is called, and which images it gets."""

    url: str | None = setting(None, "HTTP endpoint to which each PNG is POSTed")
    label_path: str | None = setting(
        None,
        "keys and positions down to the label in the endpoint's JSON: labels.0.name",
        metavar="PATH",
    )
    key_env: str | None = setting(
        None,
        "environment variable that holds the endpoint's key",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        metavar="NAME",
    )
    key_header: str = setting("Authorization", "header that carries the key")
    key_prefix: str = setting("Bearer ", "what stands before the key there")
    body: str | None = setting(
        None,
        'JSON text to send; "{image}" in it becomes the PNG in base64; null sends the PNG itself',
        metavar="JSON",
    )
    field: str | None = setting(None, "send the PNG as this field of a form")
    per_second: Float = setting(5.0, "requests a second, at most", gt=0)
    timeout: Float = setting(30.0, "seconds to wait for the endpoint", gt=0)
    retries: Int = setting(6, "repetitions of a failed request, with growing pauses", ge=0)
    images: Int = setting(
        400, "validation images; each is sent clean, and per task degraded, plain and RA", ge=1
    )
    against: tuple[Literal["label", "clean"], ...] = setting(
        ("label", "clean"),
        "compare answers with the label, or with the answer to the clean image",
        min_length=1,
    )
    classes: Path | None = setting(None, "YAML file: answer -> class name", metavar="FILE")
    sheet_images: Int = setting(60, "images on the sheet for people", ge=0)
    seed: Int = setting(0, "draws images and the order of the sheet", ge=0)


class BoundarySurvey(Settings):
    """Where decision boundaries are looked for."""

    images: Int = setting(150, "validation images at which distances and gradients are taken", ge=4)
    planes: Int = setting(40, "of these, images around which a plane is sampled", ge=2)
    grid: Int = setting(15, "points along a side of a plane", ge=3)
    radius: Float = setting(
        0.15,
        "half a plane's side and the farthest distance, RMS over an image, full range is 1",
        gt=0,
    )
    steps: Int = setting(20, "distances tried along a direction", ge=2)
    seed: Int = setting(0, "draws images and random directions", ge=0)
