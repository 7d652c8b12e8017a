"""`ra prepare`: what it stores, how it continues, and what it says of bad folders and images."""

import shutil

import numpy as np
import pytest
from helpers import write_images
from PIL import Image

import ra.data.prepare as cache
from ra.data.prepare import prepare, read_info
from ra.data.splits import open_split
from ra.errors import UserError

OPTIONS = {"name": "tiny", "resize": 20, "crop": 16}


@pytest.fixture
def root(tmp_path, folder):
    return shutil.copytree(folder, tmp_path / "images")


def digest(directory):
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.suffix != ".json"}


def test_the_digest_follows_the_pixels(root, tmp_path):
    first = prepare(root, tmp_path / "a", **OPTIONS)
    assert first.images == {"train": 24, "val": 12}
    assert read_info(tmp_path / "a") == first
    Image.new("RGB", (30, 30)).save(root / "val/a/0.png")
    assert prepare(root, tmp_path / "b", **OPTIONS).digest != first.digest


def test_workers_write_the_same_bytes(root, tmp_path):
    prepare(root, tmp_path / "a", **OPTIONS)
    prepare(root, tmp_path / "b", **OPTIONS, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_an_interrupted_run_continues_behind_the_last_image(root, tmp_path, monkeypatch):
    prepare(root, tmp_path / "whole", **OPTIONS)
    read, seen = cache._read, []

    def dies(item, **settings):
        if len(seen) == 30:
            raise KeyboardInterrupt
        seen.append(item)
        return read(item, **settings)

    monkeypatch.setattr(cache, "_read", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(root, tmp_path / "cut", **OPTIONS)
    assert not (tmp_path / "cut/dataset.json").exists()
    resumed = []
    monkeypatch.setattr(cache, "_read", lambda item, **s: resumed.append(item) or read(item, **s))
    prepare(root, tmp_path / "cut", **OPTIONS)
    assert len(resumed) == 36 - 30
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_without_a_cache_images_come_from_the_files(root, tmp_path):
    info = prepare(root, tmp_path / "out", **OPTIONS, decode=False)
    assert not info.decoded and not (tmp_path / "out/train.bin").exists()
    assert open_split(tmp_path / "out", "train").image(0).shape == (20, 24, 3)


def test_a_bad_image_is_named(root, tmp_path):
    (root / "train/b/3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="train/b/3.png cannot be read: is not an image"):
        prepare(root, tmp_path / "out", **OPTIONS)


def test_bad_images_are_skipped_named_and_counted(root, tmp_path, capsys):
    data = (root / "train/a/0.png").read_bytes()
    (root / "train/a/0.png").write_bytes(data[: len(data) // 2])
    (root / "val/c/1.png").write_bytes(b"")
    info = prepare(root, tmp_path / "out", **OPTIONS, on_bad_image="skip")
    assert info.images == {"train": 23, "val": 11}
    assert "skipped 1 bad images" in capsys.readouterr().err
    assert "train/a/0.png" in (tmp_path / "out/train.skipped.txt").read_text()


def test_images_below_the_crop_are_bad(root, tmp_path):
    Image.new("RGB", (15, 40)).save(root / "val/a/0.png")
    with pytest.raises(UserError, match="val/a/0.png is 15x40 px, smaller than the 16-px crop"):
        prepare(root, tmp_path / "out", name="tiny", resize=None, crop=16)


def test_resize_below_the_crop_is_refused(root, tmp_path):
    with pytest.raises(UserError, match="resize: 8 px is smaller than the crop of 16 px"):
        prepare(root, tmp_path / "out", name="tiny", resize=8, crop=16)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("val", "val: no such folder"),
        ("val/b", "in train/ but not in val/: b"),
        ("train/c", "in val/ but not in train/: c"),
    ],
)
def test_missing_folders_are_named(root, tmp_path, remove, message):
    shutil.rmtree(root / remove)
    with pytest.raises(UserError, match=message):
        prepare(root, tmp_path / "out", **OPTIONS)


def test_an_empty_class_is_named(root, tmp_path):
    for path in (root / "train/a").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="train/a: no image in it"):
        prepare(root, tmp_path / "out", **OPTIONS)


def test_a_link_that_leads_into_itself_is_not_followed(root, tmp_path):
    (root / "train/a/loop").symlink_to(root / "train/a")
    assert prepare(root, tmp_path / "out", **OPTIONS).images["train"] == 24


def test_odd_class_names_are_data(tmp_path):
    root = write_images(tmp_path / "images", classes=("$(touch x); '", 'a,"b'), train=1, val=1)
    prepare(root, tmp_path / "out", **OPTIONS)
    assert open_split(tmp_path / "out", "val").info.classes == ("$(touch x); '", 'a,"b')


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    pixels = np.full((20, 20, 3), 200, dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), 200 * 257, dtype=np.uint16))
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    read = cache.read_image(path)
    assert read.shape == (20, 20, 3)
    assert read.mean() == pytest.approx(200, abs=4)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it upright
    image.save(tmp_path / "a.jpg", exif=exif)
    assert cache.read_image(tmp_path / "a.jpg").shape == (30, 20, 3)
