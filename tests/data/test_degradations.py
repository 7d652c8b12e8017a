"""Degradations against PIL and hand-computed cases."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

from ra.data.degradations import (
    PAPER_TASKS,
    TASKS,
    VALIDATION,
    build_task,
    draw,
    no_processing,
    random_generator,
)
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


def test_webp_is_pils_round_trip(crops):
    ours = build_task("webp", quality=20).degrade(crops, keys())
    for degraded, image in zip(images(ours), images(crops), strict=True):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=20)
        assert np.array_equal(np.asarray(degraded), np.asarray(Image.open(buffer)))


def test_blur_is_torchvisions_inside_and_a_mirror_at_the_border(crops):
    ours = build_task("blur", sigma=1.5).degrade(crops, keys()).float()
    theirs = gaussian_blur(crops.float(), [13, 13], [1.5, 1.5])
    assert (ours - theirs)[..., 8:-8, 8:-8].abs().max() <= 0.6  # half a level, and rounding
    flat = torch.full((1, 3, 9, 9), 77, dtype=torch.uint8)
    assert (build_task("blur", sigma=30).degrade(flat, keys(count=1)) == 77).all()


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


RANGES = [
    ("dn", "sigma", [0.02, 0.2]),
    ("blur", "sigma", [0.3, 3.0]),
    ("jpeg", "quality", [10, 60]),
    ("webp", "quality", [10, 60]),
]


@pytest.mark.parametrize(("name", "setting", "ends"), RANGES)
def test_a_range_is_drawn_from_seed_epoch_and_index(crops, name, setting, ends):
    task = build_task(name, **{setting: ends})
    for wanted in (keys(), keys(epoch=1), keys(seed=1), keys(epoch=VALIDATION)):
        degraded, values = task.degrade(crops, wanted), draw(ends, wanted).tolist()
        assert len(set(values)) == 4 and all(ends[0] <= value <= ends[1] for value in values)
        assert all(type(value) is type(ends[0]) for value in values)
        for number, value in enumerate(values):
            alone = build_task(name, **{setting: value})
            one = alone.degrade(crops[number : number + 1], wanted[number : number + 1])
            assert torch.equal(one, degraded[number : number + 1])
    assert draw(ends, keys()).tolist() != draw(ends, keys(epoch=1)).tolist()
    assert draw(ends, keys()).tolist() != draw(ends, keys(seed=1)).tolist()


def test_draws_are_even_and_reach_both_ends_of_whole_numbers():
    drawn = draw([10, 12], keys(count=600)).tolist()
    assert all(150 < drawn.count(value) < 250 for value in (10, 11, 12))
    drawn = draw([2.0, 4.0], keys(count=600))
    assert drawn.mean() == pytest.approx(3, abs=0.1) and drawn.min() < 2.02 < 3.98 < drawn.max()


STEPS = [{"blur": {"sigma": [0.2, 2]}}, "sr: {factor: 2}", {"dn": {"sigma": [0.02, 0.1]}}, "jpeg"]


def test_a_chain_applies_its_steps_in_order(crops):
    chain, by_hand = build_task("chain", steps=STEPS), crops
    tasks = [build_task("blur", sigma=[0.2, 2]), build_task("sr", factor=2)]
    tasks += [build_task("dn", sigma=[0.02, 0.1]), build_task("jpeg")]
    for number, task in enumerate(tasks):
        if by_hand.is_floating_point():
            by_hand = (by_hand * 255).round().to(torch.uint8)
        own = [(seed, epoch, index + number * 2**44) for seed, epoch, index in keys()]
        by_hand = task.degrade(by_hand, own)
    assert chain.scale == 2 and torch.equal(chain.degrade(crops, keys()), by_hand)


def test_a_chain_of_one_step_is_that_task_and_equal_steps_differ(crops):
    once = build_task("chain", steps="dn").degrade(crops, keys())
    assert torch.equal(once, build_task("dn").degrade(crops, keys()))
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    twice = build_task("chain", steps=["dn", "dn"]).degrade(grey, keys(count=1))
    assert twice.std() == pytest.approx(0.1 * 2**0.5, rel=0.05)  # 0.2, were both noises the same


# As in test_pinned.py, of the package's further tasks.
MORE = {
    "blur": ({}, "997c537106243505"),
    "webp": ({}, "629e53acd8710520"),
    "chain": ({"steps": STEPS}, "60587c93b90f9cce"),
}


def test_every_further_task_is_pinned():
    ours = [name for name in TASKS if TASKS.get(name).__module__ == "ra.data.degradations"]
    assert sorted(ours) == sorted([*PAPER_TASKS, *MORE, "paired"])  # which makes nothing


@pytest.mark.parametrize("name", MORE)
def test_further_tasks_give_fixed_values(crops, name):
    settings, wanted = MORE[name]
    degraded = build_task(name, **settings).degrade(crops, keys(epoch=1))
    assert hashlib.sha256(degraded.contiguous().numpy().tobytes()).hexdigest()[:16] == wanted


def test_no_processing_returns_to_the_targets_size():
    degraded = torch.rand(2, 3, 8, 8)
    assert no_processing(degraded, 4).shape == (2, 3, 32, 32)
    assert no_processing(degraded, 1) is degraded


def test_rounded_no_processing_is_pils():
    pixels = torch.randint(0, 256, (1, 3, 12, 10), dtype=torch.uint8)
    found = no_processing(pixels.float() / 255, 4, rounded=True)
    image = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    wanted = np.asarray(image.resize((40, 48), Image.Resampling.BICUBIC), dtype=np.float32)
    assert (255 * found[0].permute(1, 2, 0) - torch.from_numpy(wanted)).abs().max() <= 1.001
    assert torch.equal((found * 255).round() / 255, found)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("srr", {}, "unknown task 'srr'; nearest: sr"),
        ("sr", {"factor": 5}, "factor: 5 is not a product of twos and threes"),
        ("blur", {"sigma": [2, 0.2]}, r"sigma: \[2.0, 0.2\] is no range; write \[low, high\]"),
        ("jpeg", {"quality": [60]}, r"quality: \[60\] is no range"),
        ("webp", {"quality": [10, 101]}, "quality.1: 101 should be less than or equal to 100"),
        ("chain", {}, "steps: missing"),
        ("chain", {"steps": ["dn", "dnn"]}, "steps: step 2: unknown task 'dnn'; nearest: dn"),
        ("chain", {"steps": "dn: {sigma: [1, 0.1]}"}, "step 1: sigma: .* is no range"),
        ("chain", {"steps": [{"dn": {}, "jpeg": {}}]}, "step 1: .* is no 'dn: {sigma: 0.1}'"),
        ("chain", {"steps": "chain"}, "step 1: a chain holds no other chain"),
        ("dn", {"sigma": 0}, "sigma: 0 should be greater than 0"),
        ("jpeg", {"quality": 0}, "quality: 0 should be greater than or equal to 1"),
        ("dn", {"quality": 10}, "quality: task dn has no such setting; it has sigma"),
    ],
)
def test_bad_settings_are_named(name, settings, message):
    with pytest.raises(UserError, match=message):
        build_task(name, **settings)
