"""Folders without labels, and with classes that differ between the splits."""

import shutil

import pytest
from helpers import digest, interrupted, write_images, write_photographs

from ra.data.dataset import read_info
from ra.data.folders import find_classes, find_images
from ra.data.prepare import prepare
from ra.data.splits import open_split
from ra.errors import UserError

OPTIONS = {"name": "tiny", "resize": 20, "crop": 16}


def test_a_seeded_share_of_a_folder_is_for_validation(tmp_path):
    root = write_photographs(tmp_path / "photos")
    info = prepare(root, tmp_path / "out", **OPTIONS)
    assert info.classes == () and read_info(tmp_path / "out") == info
    assert info.images["val"] and sum(info.images.values()) == 20
    for split in ("train", "val"):
        prepared, plain = open_split(tmp_path / "out", split), open_split(root, split, 20, 16)
        assert list(prepared.paths) == plain.paths and plain.info.classes == ()
        assert set(prepared.labels) == set(plain.labels) == {-1}
    others = open_split(root, "val", 20, 16, val_seed=1).paths
    assert others != open_split(root, "val", 20, 16).paths
    assert len(open_split(root, "val", 20, 16, val_share=0.6)) > info.images["val"]


def test_another_photograph_moves_none_and_copies_stay_together(tmp_path):
    root = write_photographs(tmp_path / "photos", 40)
    before = {split: dict(files) for split, files in find_images(root, []).items()}
    write_photographs(root / "more", 3)
    (root / "0.png").rename(root / "renamed.png")
    for number in range(40):
        shutil.copy(
            next(root.rglob(f"{number}.png"), root / "renamed.png"), root / f"copy-{number}.png"
        )
    after = {split: dict(files) for split, files in find_images(root, []).items()}
    for split in ("train", "val"):
        for path in before[split]:
            name = path.rpartition("/")[2]
            assert f"copy-{name}" in after[split]
            assert path in after[split] or ("renamed.png" in after[split] and name == "0.png")


def test_train_and_val_may_have_no_classes(tmp_path):
    root = tmp_path / "photos"
    write_photographs(root / "train", 5, ("",))
    write_photographs(root / "val", 3, ("",))
    info = prepare(root, tmp_path / "out", **OPTIONS)
    assert info.classes == () and info.images == {"train": 5, "val": 3}


def test_folders_in_train_and_val_are_no_classes_where_the_user_says_so(tmp_path, folder):
    info = prepare(folder, tmp_path / "out", **OPTIONS, labels=False)
    assert info.classes == () and info.images == {"train": 24, "val": 12}


def test_labels_in_one_split_only_are_refused(tmp_path):
    root = write_images(tmp_path / "photos", train=1, val=1)
    for path in (root / "val").iterdir():
        shutil.move(path / "0.png", root / "val" / f"{path.name}.png")
        path.rmdir()
    with pytest.raises(UserError, match="labels in train/ only, val/ has no class folder; make"):
        find_classes(root)


def test_a_share_that_leaves_a_split_empty_is_refused(tmp_path):
    root = write_photographs(tmp_path / "photos", 3)
    with pytest.raises(UserError, match="val_share 0.001 of so few images leaves none for val"):
        prepare(root, tmp_path / "out", **OPTIONS, val_share=0.001)


def test_classes_of_both_splits_have_labels(tmp_path, folder):
    root = shutil.copytree(folder, tmp_path / "photos")
    shutil.rmtree(root / "train/c")
    shutil.rmtree(root / "val/a")
    info = prepare(root, tmp_path / "out", **OPTIONS)
    assert info.classes == ("a", "b", "c") and info.images == {"train": 16, "val": 8}
    assert set(open_split(tmp_path / "out", "val").labels) == {1, 2}


def test_an_interrupted_run_of_a_flat_folder_writes_the_same_bytes(tmp_path):
    root = write_photographs(tmp_path / "photos")
    prepare(root, tmp_path / "whole", **OPTIONS)
    interrupted(root, tmp_path / "cut", 17, **OPTIONS)
    prepare(root, tmp_path / "cut", **OPTIONS, workers=2)
    assert digest(tmp_path / "whole") == digest(tmp_path / "cut")
