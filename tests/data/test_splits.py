"""Crops against torchvision, and the independence of numbers from workers and resumption."""

import json
import sys
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_images
from PIL import Image
from torchvision.transforms import v2

from ra.data.batches import TrainingKeys, loader, validation_keys
from ra.data.degradations import build_task
from ra.data.images import read_image
from ra.data.prepare import COLUMNS, prepare
from ra.data.splits import Crops, open_split

CPU = torch.device("cpu")


def test_validation_crops_are_torchvisions(folder, prepared):
    split = open_split(prepared, "val")
    batch = Crops(split, None).__getitems__(validation_keys(len(split), 100)[0])
    theirs = v2.Compose([v2.Resize(20), v2.CenterCrop(16)])
    for path, target in zip(split.paths, batch.target, strict=True):
        wanted = np.asarray(theirs(Image.open(folder / path)))
        assert np.array_equal(target.permute(1, 2, 0).numpy(), wanted)


def test_resizing_is_torchvisions(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (61, 47, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = np.asarray(v2.Resize(20)(Image.fromarray(pixels)))
    assert np.array_equal(read_image(tmp_path / "a.png", 20), wanted)


def test_a_batch_says_which_crops_are_mirrored(tmp_path):
    folder = write_images(tmp_path / "images", size=(16, 16))
    prepare(folder, tmp_path / "data", name="tiny", resize=None, crop=16)
    split = open_split(tmp_path / "data", "train")
    assert split.whole and not open_split(folder, "train", None, 16).whole
    keys = [(0, 0, index) for index in range(len(split))]
    batch = Crops(split, None).__getitems__(keys)
    assert set(batch.mirrored.tolist()) == {0, 1}
    for index, mirrored, target in zip(batch.index, batch.mirrored, batch.target, strict=True):
        whole = torch.from_numpy(split.image(int(index)).copy()).permute(2, 0, 1)
        assert torch.equal(target, whole.flip(2) if mirrored else whole)


def test_images_with_room_around_the_crop_are_not_whole(prepared):
    assert not open_split(prepared, "train").whole


def test_a_plain_folder_gives_the_images_of_the_prepared_one(folder, prepared):
    plain, cached = open_split(folder, "val", 20, 16), open_split(prepared, "val")
    assert list(plain.paths) == list(cached.paths)
    assert all(np.array_equal(plain.image(i), cached.image(i)) for i in range(len(plain)))


def test_a_manifest_is_no_python_object_per_image(prepared, tmp_path):
    """ImageNet's manifest has 1.3 million rows, and every loader process has its own."""
    rows, info = 20_000, json.loads((prepared / "dataset.json").read_text())
    info |= {"decoded": False, "images": {"train": rows, "val": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(info))
    lines = [f'"train/b/{n},.png",1,20,{n % 9 + 16},{n},00' for n in range(rows)]
    manifest = "\n".join([",".join(COLUMNS), *lines, ""])
    (tmp_path / "train.csv").write_text(manifest)
    before = sys.getallocatedblocks()
    split = open_split(tmp_path, "train")
    assert sys.getallocatedblocks() - before < rows / 10
    assert split.paths[12_345] == "train/b/12345,.png" and split.labels.sum() == rows
    assert pd.DataFrame({"path": split.paths}).path.iloc[-1] == f"train/b/{rows - 1},.png"


def test_labels_follow_the_sorted_class_names(prepared):
    split = open_split(prepared, "train")
    assert [split.info.classes[label] for label in split.labels] == [
        path.split("/")[1] for path in split.paths
    ]


def batches(prepared, workers=0, start=0, rank=0, world=1):
    steps = [{"blur": {"sigma": [0.2, 2]}}, {"dn": {"sigma": [0.02, 0.2]}}]
    crops = Crops(open_split(prepared, "train"), build_task("chain", steps=steps))
    keys = TrainingKeys(len(crops), 5, 2, seed=3, start=start, rank=rank, world=world)
    return list(loader(crops, keys, workers, CPU))


def pairs(left, right):
    return zip(left, right, strict=True)


def same(left, right):
    parts = [two for x, y in pairs(left, right) for two in pairs(x, y) if two != (None, None)]
    return all(torch.equal(a, b) for a, b in parts)


def test_batches_do_not_depend_on_the_number_of_workers(prepared):
    assert same(batches(prepared), batches(prepared, workers=2))


def test_a_start_in_the_middle_of_an_epoch_gives_the_rest(prepared):
    assert same(batches(prepared)[3:], batches(prepared, start=3))
    assert same(batches(prepared)[7:], batches(prepared, start=7))


def test_an_epoch_visits_every_image_once_and_epochs_differ(prepared):
    index = torch.cat([batch.index for batch in batches(prepared)])
    first, second = index[:24], index[24:]
    assert sorted(first.tolist()) == list(range(24))
    assert sorted(second.tolist()) == list(range(24))
    assert first.tolist() != second.tolist()


def test_ranks_share_a_global_batch(prepared):
    whole = batches(prepared)[0].index.tolist()
    parts = [batches(prepared, rank=rank, world=2)[0].index.tolist() for rank in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)


@pytest.mark.parametrize(
    ("length", "batch_size", "sizes"),
    [
        (65, 64, [65]),
        (129, 64, [64, 65]),
        (66, 64, [64, 2]),
        (64, 64, [64]),
        (5, 2, [2, 3]),
        (3, 1, [1, 1, 1]),
        (1, 64, [1]),
        (63, 64, [63]),
    ],
)
def test_a_single_image_left_over_joins_the_batch_before(length, batch_size, sizes):
    """Batch norm cannot train on one image whose maps are 1x1."""
    keys = TrainingKeys(length, batch_size, 2, seed=0)
    batches = list(keys)
    assert [len(batch) for batch in batches] == sizes * 2
    assert [keys.images_in(step) for step in range(len(keys))] == sizes * 2
    for epoch in (0, 1):
        visited = [key[2] for batch in batches for key in batch if key[1] == epoch]
        assert sorted(visited) == list(range(length))
    assert list(TrainingKeys(length, batch_size, 2, seed=0, start=1)) == batches[1:]
    parts = [TrainingKeys(length, batch_size, 2, 0, rank=rank, world=2) for rank in (0, 1)]
    for whole, *shares in zip(batches, *parts, strict=True):
        assert sorted(chain.from_iterable(shares)) == sorted(whole)


def test_on_the_device_images_are_floats_in_the_unit_range(prepared):
    batch = batches(prepared)[0].to(CPU)
    assert batch.target.dtype == torch.float32
    assert batch.target.min() >= 0 and batch.target.max() <= 1
