"""`ra prepare`: what it stores, how it resumes, and its messages about bad folders and images."""

import os
import re
import shutil

import pytest
from helpers import digest, interrupted, write_images
from PIL import Image

import ra.data.prepare as cache
from ra.data.dataset import read_info
from ra.data.prepare import prepare
from ra.data.splits import open_split
from ra.errors import UserError

OPTIONS = {"name": "tiny", "resize": 20, "crop": 16}


@pytest.fixture
def root(tmp_path, folder):
    return shutil.copytree(folder, tmp_path / "images")


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
    interrupted(root, tmp_path / "cut", 30, **OPTIONS)
    assert not (tmp_path / "cut/dataset.json").exists()
    read = cache._read
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


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_split_is_named(root, tmp_path, split):
    shutil.rmtree(root / split)
    with pytest.raises(UserError, match=f"{split}: no such folder"):
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


def test_class_names_with_any_line_end_are_read_back(tmp_path):
    names = ("a\nb", "a\rb", "a\r\nb", "a\x0bb", "a\x1cb", "a\x85b", "a\u2028b")
    root = write_images(tmp_path / "images", classes=names, train=1, val=1)
    info = prepare(root, tmp_path / "out", **OPTIONS)
    split = open_split(tmp_path / "out", "train")
    assert [info.classes[label] for label in split.labels] == sorted(names)
    assert all((root / path).exists() for path in split.paths)


def test_an_interrupted_run_goes_on_with_line_ends_in_names(tmp_path):
    root = write_images(tmp_path / "images", classes=("a\nb", "a\rb", "a\u2028b"), train=2, val=1)
    prepare(root, tmp_path / "whole", **OPTIONS)
    interrupted(root, tmp_path / "cut", 5, **OPTIONS)
    prepare(root, tmp_path / "cut", **OPTIONS)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


CHANGES = {
    "replaced": lambda root: Image.new("RGB", (24, 20), "red").save(root / "train/a/1.png"),
    "added": lambda root: shutil.copy(root / "val/c/0.png", root / "train/a/00.png"),
    "removed": lambda root: (root / "train/a/0.png").unlink(),
    "mended": lambda root: shutil.copy(root / "train/a/0.png", root / "train/b/0.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_run_notices_files_that_changed(root, tmp_path, change):
    if change == "mended":
        (root / "train/b/0.png").write_bytes(b"no image")
    interrupted(root, tmp_path / "cut", 30, on_bad_image="skip", **OPTIONS)
    CHANGES[change](root)
    prepare(root, tmp_path / "cut", **OPTIONS)
    prepare(root, tmp_path / "whole", **OPTIONS)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_resumed_run_lists_the_bad_images_of_both(root, tmp_path):
    for name in ("train/a/0.png", "train/c/7.png"):
        (root / name).write_bytes(b"no image")
    interrupted(root, tmp_path / "out", 20, on_bad_image="skip", **OPTIONS)
    info = prepare(root, tmp_path / "out", **OPTIONS, on_bad_image="skip")
    listed = (tmp_path / "out/train.skipped.txt").read_text().splitlines()
    assert [line.split()[0] for line in listed] == ["train/a/0.png", "train/c/7.png"]
    assert info.images["train"] == len(open_split(tmp_path / "out", "train")) == 22
    interrupted(root, tmp_path / "fail", 20, on_bad_image="skip", **OPTIONS)
    with pytest.raises(UserError, match="train/a/0.png cannot be read"):
        prepare(root, tmp_path / "fail", **OPTIONS)


def test_a_run_without_usable_images_leaves_the_earlier_data_set(root, tmp_path):
    prepare(root, tmp_path / "out", **OPTIONS)
    before = digest(tmp_path / "out")
    for path in (root / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="no usable image for val, 12 bad ones"):
        prepare(root, tmp_path / "out", **OPTIONS, on_bad_image="skip")
    assert before.items() <= digest(tmp_path / "out").items()
    assert len(open_split(tmp_path / "out", "val")) == 12


def test_a_name_that_is_not_utf_8_is_a_bad_image_shown_escaped(root, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(root / "train/a/0.png", root / "train/a" / name)
    shown = r"train/a/caf\xe9.png the name is not UTF-8"
    with pytest.raises(UserError, match=re.escape(shown)):
        prepare(root, tmp_path / "out", **OPTIONS)
    prepare(root, tmp_path / "out", **OPTIONS, on_bad_image="skip")
    assert shown in (tmp_path / "out/train.skipped.txt").read_text()
    assert len(open_split(tmp_path / "out", "train")) == 24
    with pytest.raises(UserError, match=re.escape(r"train/a/caf\xe9.png: the name is not UTF-8")):
        open_split(root, "train", 20, 16)


def test_what_is_no_regular_file_is_named(root, tmp_path):
    (root / "train/a/8.png").symlink_to("/dev/zero")
    os.mkfifo(root / "val/a/9.png")
    prepare(root, tmp_path / "out", **OPTIONS, on_bad_image="skip")
    for split, name in (("train", "8.png"), ("val", "9.png")):
        listed = (tmp_path / f"out/{split}.skipped.txt").read_text()
        assert listed == f"{split}/a/{name} is not a regular file\n"


def test_one_class_with_one_image_is_a_data_set(tmp_path):
    root = write_images(tmp_path / "images", classes=("a",), train=1, val=1)
    assert prepare(root, tmp_path / "out", **OPTIONS).images == {"train": 1, "val": 1}
    assert open_split(tmp_path / "out", "train").image(0).shape == (20, 24, 3)
