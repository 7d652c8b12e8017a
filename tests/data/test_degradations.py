"""Degradations against PIL and hand-computed cases."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ra.data.degradations import VALIDATION, build_task, no_processing, random_generator
from ra.data.embedded import PHOTOGRAPHS
from ra.errors import UserError


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    """uint8 (4, 3, 64, 64) of a real photograph."""
    image = np.asarray(next(p for p in PHOTOGRAPHS if p.name == "astronaut").open())
    parts = [image[y : y + 64, y : y + 64] for y in (0, 100, 200, 300)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2)


def images(batch: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray(image) for image in batch.permute(0, 2, 3, 1).numpy()]


def keys(epoch=0, seed=0, count=4):
    return [(seed, epoch, index) for index in range(count)]


def test_sr_is_pils_bicubic(crops):
    ours = build_task("sr").degrade(crops, keys()).permute(0, 2, 3, 1).numpy().astype(int)
    for degraded, image in zip(ours, images(crops), strict=True):
        theirs = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(degraded - theirs).max() <= 1  # of 255: PIL rounds between its two passes
        assert (degraded != theirs).mean() < 0.01


def test_sr_of_a_constant_image_is_that_constant():
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert (build_task("sr").degrade(flat, keys(count=1)) == 77).all()


def test_sr_refuses_crops_that_the_factor_does_not_divide(crops):
    with pytest.raises(UserError, match="not divisible by the sr factor 4"):
        build_task("sr").degrade(crops[..., :62], keys())


def test_jpeg_is_pils_round_trip(crops):
    ours = build_task("jpeg", quality=10).degrade(crops, keys())
    for degraded, image in zip(images(ours), images(crops), strict=True):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=10)
        assert np.array_equal(np.asarray(degraded), np.asarray(Image.open(buffer)))


@pytest.mark.parametrize("key", [(0, 0, 0), (3, 2, 17), (0, 1, 2**40 + 1), (5, VALIDATION, 17)])
@pytest.mark.parametrize("stream", [0, 1])
def test_random_numbers_are_those_of_a_new_generator_of_the_key(key, stream):
    random_generator((9, 9, 9), 1).standard_normal(3, dtype=np.float32)  # leaves half a number
    seed, epoch, index = key
    # As integers of 64 bits: numpy makes floats of a list with numbers from 2^63 on.
    words = np.array([seed * 16 + stream, epoch << 48 | index], np.uint64)
    new = np.random.Generator(np.random.Philox(key=words))
    ours = random_generator(key, stream)
    assert np.array_equal(ours.random(3), new.random(3))
    assert np.array_equal(
        ours.standard_normal(5, dtype=np.float32), new.standard_normal(5, dtype=np.float32)
    )


def test_noise_has_the_wanted_mean_and_deviation():
    grey = torch.full((4, 3, 64, 64), 128, dtype=torch.uint8)
    noise = build_task("dn", sigma=0.1).degrade(grey, keys()) - 128 / 255
    assert noise.mean().abs() < 0.002
    assert noise.std() == pytest.approx(0.1, rel=0.02)


def test_noise_is_clamped_to_the_range_of_images():
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert build_task("dn").degrade(white, keys(count=1)).max() == 1


def test_noise_is_a_function_of_seed_epoch_and_index(crops):
    task = build_task("dn")
    whole = task.degrade(crops, keys())
    assert torch.equal(whole[2:3], task.degrade(crops[2:3], keys()[2:3]))
    assert not torch.equal(whole, task.degrade(crops, keys(epoch=1)))
    assert not torch.equal(whole, task.degrade(crops, keys(seed=1)))


def test_validation_noise_is_fixed_per_image_index_and_differs_between_images():
    grey = torch.full((8, 3, 8, 8), 128, dtype=torch.uint8)
    task, wanted = build_task("dn"), keys(epoch=VALIDATION, count=8)
    first = task.degrade(grey, wanted)
    assert torch.equal(first, task.degrade(grey, wanted))
    assert len({image.numpy().tobytes() for image in first}) == 8


def test_no_processing_returns_to_the_targets_size():
    degraded = torch.rand(2, 3, 8, 8)
    assert no_processing(degraded, 4).shape == (2, 3, 32, 32)
    assert no_processing(degraded, 1) is degraded


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("srr", {}, "unknown task 'srr'; nearest: sr"),
        ("sr", {"factor": 3}, "not a power of two"),
        ("dn", {"sigma": 0}, "sigma: 0 should be greater than 0"),
        ("jpeg", {"quality": 0}, "quality: 0 should be greater than or equal to 1"),
        ("dn", {"quality": 10}, "quality: task dn has no such setting; it has sigma"),
    ],
)
def test_bad_settings_are_named(name, settings, message):
    with pytest.raises(UserError, match=message):
        build_task(name, **settings)
