"""Pairs of an image and its degraded twin: found, checked, cached, and cropped together."""

import shutil

import numpy as np
import pytest
from helpers import digest, interrupted, write_pairs
from PIL import Image

from ra.data.batches import TrainingKeys, validation_keys
from ra.data.degradations import build_task
from ra.data.prepare import prepare
from ra.data.splits import Crops, open_split, scaled
from ra.errors import UserError

OPTIONS = {"name": "tiny", "resize": None, "crop": 16}


@pytest.fixture
def pairs(tmp_path):
    """(folder of targets, folder of inputs): each target is its twin, every pixel 2 x 2 times."""
    return write_pairs(tmp_path, scale=2)


def batches(data, inputs, **sizes):
    """All training and validation batches of a paired task."""
    split = open_split(data, "train", inputs=inputs, **sizes)
    task = scaled(build_task("paired", input=str(inputs)), split.info)
    crops = Crops(split, task)
    keys = [*TrainingKeys(len(crops), 5, 2, seed=3), *validation_keys(len(crops))]
    return task, [crops.__getitems__(some) for some in keys]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_crops_and_flips_are_taken_together(tmp_path, scale):
    size = {"crop": 24}
    targets, inputs = write_pairs(tmp_path, scale, size=(48 // scale + 3, 48 // scale + 1))
    info = prepare(targets, tmp_path / "out", **{**OPTIONS, **size}, inputs=inputs)
    assert info.scale == scale and info.inputs == str(inputs)
    task, found = batches(tmp_path / "out", inputs)
    assert task.scale == scale
    for batch in found:
        enlarged = batch.input.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        assert enlarged.equal(batch.target) and batch.target.shape[2:] == (24, 24)
    assert any(batch.mirrored.any() for batch in found)


def test_a_cache_files_and_a_plain_folder_give_the_same(tmp_path, pairs):
    targets, inputs = pairs
    prepare(targets, tmp_path / "cached", **OPTIONS, inputs=inputs)
    prepare(targets, tmp_path / "files", **OPTIONS, inputs=inputs, decode=False)
    several = [batches(tmp_path / name, inputs)[1] for name in ("cached", "files")]
    several.append(batches(targets, inputs, resize=None, crop=16)[1])
    for one, two, three in zip(*several, strict=True):
        for part in ("input", "target"):
            first = getattr(one, part)
            assert first.equal(getattr(two, part)) and first.equal(getattr(three, part))


def test_pairs_of_odd_sizes_are_cut(tmp_path, pairs):
    targets, inputs = pairs
    path = targets / "train/0.png"
    whole = Image.open(path)
    whole.resize((whole.width + 1, whole.height - 1)).save(path)  # a twin rounded down and up
    prepare(targets, tmp_path / "out", **OPTIONS, inputs=inputs)
    image, twin = open_split(tmp_path / "out", "train").pair(0)
    assert image.shape == (38, 46, 3) and twin.shape == (19, 23, 3)


def test_resized_pairs_keep_their_scale(tmp_path, pairs):
    targets, inputs = pairs
    prepare(targets, tmp_path / "out", **{**OPTIONS, "resize": 21}, inputs=inputs)
    image, twin = open_split(tmp_path / "out", "val").pair(1)
    assert image.shape == (20, 24, 3) and twin.shape == (10, 12, 3)


def test_the_digest_follows_the_twins(tmp_path, pairs):
    targets, inputs = pairs
    first = prepare(targets, tmp_path / "a", **OPTIONS, inputs=inputs)
    twin = next((inputs / "val").iterdir())
    Image.fromarray(255 - np.asarray(Image.open(twin))).save(twin)
    assert prepare(targets, tmp_path / "b", **OPTIONS, inputs=inputs).digest != first.digest


def test_workers_and_an_interrupted_run_write_the_same_bytes(tmp_path, pairs):
    targets, inputs = pairs
    prepare(targets, tmp_path / "whole", **OPTIONS, inputs=inputs)
    prepare(targets, tmp_path / "workers", **OPTIONS, inputs=inputs, workers=2)
    interrupted(targets, tmp_path / "cut", 5, **{**OPTIONS, "inputs": inputs})
    prepare(targets, tmp_path / "cut", **OPTIONS, inputs=inputs)
    assert digest(tmp_path / "whole") == digest(tmp_path / "workers") == digest(tmp_path / "cut")


def remove(path):
    path.unlink()


def damage(path):
    path.write_bytes(b"no image")


def enlarge(path):
    Image.new("RGB", (40, 20)).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove, "train/1.png has no twin of the same relative path among the inputs"),
        (damage, "train/1.png has a twin, .*train/1.jp2, that cannot be read: is not an image"),
        (enlarge, r"train/1.png is 46x40 px, its twin 40x20 px \(.*train/1.jp2\), not 1:2 as for"),
    ],
)
def test_a_pair_that_cannot_be_used_is_named(tmp_path, pairs, change, message):
    targets, inputs = pairs
    change(inputs / "train/1.jp2")
    with pytest.raises(UserError, match=message):
        prepare(targets, tmp_path / "out", **OPTIONS, inputs=inputs)
    info = prepare(targets, tmp_path / "out", **OPTIONS, inputs=inputs, on_bad_image="skip")
    assert info.images == {"train": 7, "val": 4}
    assert "train/1.png" in (tmp_path / "out/train.skipped.txt").read_text()
    if change is not remove:
        with pytest.raises(UserError, match=message):
            batches(targets, inputs, resize=None, crop=16)


def test_pairs_that_are_none_are_refused(tmp_path, pairs):
    targets, inputs = pairs
    with pytest.raises(UserError, match="nowhere: no such folder; it should hold the inputs"):
        prepare(targets, tmp_path / "out", **OPTIONS, inputs=tmp_path / "nowhere")
    with pytest.raises(UserError, match="crop: 17 px is not divisible by the scale of the pairs"):
        prepare(targets, tmp_path / "out", **{**OPTIONS, "crop": 17}, inputs=inputs)
    shutil.copy(inputs / "val/0.jp2", inputs / "val/0.png")
    with pytest.raises(UserError, match="two inputs of one name; remove one"):
        prepare(targets, tmp_path / "out", **OPTIONS, inputs=inputs)
    (inputs / "val/0.png").unlink()
    for path in inputs.rglob("*.jp2"):
        Image.new("RGB", (9, 8)).save(path)
    with pytest.raises(UserError, match=r"46x40 px, its twin 9x8 px; scales are \(1, 2, 3, 4, 8\)"):
        prepare(targets, tmp_path / "out", **OPTIONS, inputs=inputs)
    with pytest.raises(UserError, match="photos: no image has a twin of the same relative path"):
        prepare(targets, tmp_path / "out", **OPTIONS, inputs=targets / "val")
