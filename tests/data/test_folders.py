"""Which files and folders of a user's folder are the data set."""

import os
import re
import shutil

import pytest
from helpers import write_images

from ra.data.folders import find_classes, find_images
from ra.errors import UserError


@pytest.fixture
def root(tmp_path):
    return write_images(tmp_path / "images", classes=("a", "b"), train=2, val=1)


def test_hidden_folders_are_neither_classes_nor_images(root, capsys):
    images = find_images(root, find_classes(root))
    for place in ("train", "val", "train/a", "val/b"):
        for name in (".ipynb_checkpoints", "__MACOSX"):
            shutil.copytree(root / "val/a", root / place / name)
    assert find_classes(root) == ["a", "b"]
    assert find_images(root, ["a", "b"]) == images
    assert capsys.readouterr().err == ""


def test_files_of_other_formats_are_counted_and_named(root, capsys):
    for name in ("notes.txt", "x.heic"):
        (root / "train/b" / name).touch()
    assert len(find_images(root, ["a", "b"])["train"]) == 4
    said = capsys.readouterr().err
    assert said == (
        f"left out 2 files in {root} that are no images: train/b/notes.txt, train/b/x.heic\n"
    )


def test_images_are_in_the_order_of_their_paths(root):
    (root / "train/a/x").mkdir()
    names = ["0.png", "1.png", "x/0.png", "x-0.png", "x.png"]
    for name in names[2:]:
        shutil.copy(root / "train/a/0.png", root / "train/a" / name)
    found = [path for path, _ in find_images(root, ["a"])["train"]]
    assert found == [
        f"train/a/{name}" for name in ("0.png", "1.png", "x/0.png", "x-0.png", "x.png")
    ]


def test_a_class_that_is_not_utf_8_is_named(root):
    for split in ("train", "val"):
        shutil.copytree(root / split / "a", root / split / os.fsdecode(b"caf\xe9"))
    with pytest.raises(UserError, match=re.escape(r"train/caf\xe9: the name is not UTF-8; rename")):
        find_classes(root)
