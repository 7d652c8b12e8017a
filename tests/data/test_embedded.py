"""The embedded photographs: rights, separation of the splits, counts, the same bytes each time."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ra.data import embedded as photographs
from ra.data.embedded import PHOTOGRAPHS, cut_tiles, write_image_folder
from ra.errors import UserError

DOCUMENT = Path(__file__).parents[2] / "docs" / "photographs.md"


@pytest.fixture(scope="module")
def final():
    return list(cut_tiles())


@pytest.fixture(scope="module")
def tune():
    return list(cut_tiles(split="tune"))


def covered(tiles, name: str, split: str) -> np.ndarray:
    """bool (H, W): pixels of the photograph that a tile of the split was cut from."""
    photograph = next(p for p in PHOTOGRAPHS if p.name == name)
    width, height = photograph.open().size
    mask = np.zeros((height, width), bool)
    for tile in tiles:
        if (tile.name, tile.split) == (name, split):
            left, top, right, bottom = tile.box
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("name", [p.name for p in PHOTOGRAPHS])
def test_no_pixel_is_in_two_splits(final, tune, name):
    validation = covered(final, name, "val")
    assert not (validation & covered(final, name, "train")).any()
    tune_train, tune_val = covered(tune, name, "train"), covered(tune, name, "val")
    assert not (tune_train & tune_val).any()
    assert not (validation & (tune_train | tune_val)).any()


@pytest.mark.parametrize("name", [p.name for p in PHOTOGRAPHS])
def test_tune_stays_in_the_training_blocks_of_final(tune, name):
    photograph = next(p for p in PHOTOGRAPHS if p.name == name)
    side = photographs.BLOCK * 40
    colours = photographs.COLOURS["final"]["train"]
    training = [
        box for colour, box in photographs.blocks(photograph.open().size, side) if colour in colours
    ]
    for tile in (t for t in tune if t.name == name):
        left, top, right, bottom = tile.box
        assert any(
            left >= b[0] and top >= b[1] and right <= b[2] and bottom <= b[3] for b in training
        )


def test_blocks_divide_the_photograph():
    seen = np.zeros((303, 384), int)
    for _, (left, top, right, bottom) in photographs.blocks((384, 303), 120):
        assert right - left >= 120 and bottom - top >= 120
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


def test_validation_tiles_of_one_scale_do_not_overlap(final):
    pixels = Counter()
    for tile in final:
        if tile.split == "val":
            left, top, right, bottom = tile.box
            pixels[tile.name, tile.side] += (right - left) * (bottom - top)
    for (name, side), area in pixels.items():
        tiles = [t for t in final if t.side == side]
        assert covered(tiles, name, "val").sum() == area


def test_counts_and_balance(final):
    total = Counter(tile.split for tile in final)
    assert total["val"] >= 1500
    assert 2500 <= total["train"] <= 4000
    per_class = Counter((tile.name, tile.split) for tile in final)
    assert min(per_class[p.name, "val"] for p in PHOTOGRAPHS) >= 90
    assert min(per_class[p.name, "train"] for p in PHOTOGRAPHS) >= 200


def test_the_tiles_of_the_default_experiment_are_these(final):
    """A change of these pixels changes every number of the default experiment."""
    digest = hashlib.sha256()
    for tile in final:
        digest.update(repr(tile[:4]).encode() + tile.image.tobytes())
    assert digest.hexdigest()[:16] == "6e115c871ab8740f"


def test_tiles_are_rgb_and_not_flat(final):
    for tile in final:
        assert (tile.image.mode, tile.image.size) == ("RGB", (40, 40))
        deviation = np.asarray(tile.image, np.float32).std(axis=(0, 1)).max()
        assert deviation >= photographs.MIN_STD


def test_resize_reads_only_its_square(final):
    photograph = next(p for p in PHOTOGRAPHS if p.name == "coffee")
    tile = next(t for t in final if t.name == "coffee" and t.side == 120)
    left, top, right, bottom = tile.box
    alone = Image.fromarray(np.asarray(photograph.open())[top:bottom, left:right].copy())
    expected = alone.resize((40, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(tile.image), np.asarray(expected))


def test_writes_the_same_bytes_each_time(tmp_path, monkeypatch, final):
    names = ("coins", "rocket")
    monkeypatch.setattr(
        photographs, "PHOTOGRAPHS", tuple(p for p in PHOTOGRAPHS if p.name in names)
    )
    written = []
    for _ in range(2):
        write_image_folder(tmp_path / "images")
        paths = sorted((tmp_path / "images").glob("*/*/*.png"))
        written.append({str(p.relative_to(tmp_path)): p.read_bytes() for p in paths})
    assert written[0] == written[1]
    assert len(written[0]) == sum(tile.name in names for tile in final)
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_other_files_are_not_overwritten(tmp_path):
    mine = tmp_path / "train" / "cats" / "tom.png"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(UserError, match="choose another folder"):
        write_image_folder(tmp_path)
    assert mine.exists()


def test_too_large_tiles_are_one_clear_line():
    with pytest.raises(UserError, match="too large"):
        list(cut_tiles(tile=224))


def test_every_photograph_has_its_rights_in_the_document():
    rows = DOCUMENT.read_text("utf-8").split("## Not used")[0].splitlines()
    table = [tuple(c.strip() for c in r.strip("|").split("|")) for r in rows if r.startswith("|")]
    stated = [(p.name, p.package, p.file, p.author, p.licence, p.source) for p in PHOTOGRAPHS]
    assert table[2:] == stated
    assert all(all(row) for row in stated)
    assert len({p.name for p in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
