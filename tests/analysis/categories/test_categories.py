"""Halves of the classes as data sets of their own, and the table across them."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import write_evaluation, write_images

from ra.analysis.categories.halves import split_classes
from ra.analysis.categories.table import write_categories
from ra.analysis.command_settings import Categories, SplitClasses
from ra.cli import main
from ra.data.dataset import read_info
from ra.data.prepare import prepare
from ra.data.splits import open_split
from ra.errors import UserError


def halve(data, out, seed=0) -> dict[str, list[str]]:
    """Split, and read what is stored of the halves."""
    split_classes(SplitClasses(data=data, save_dir=out, seed=seed))
    stored = json.loads((out / "halves.json").read_text())
    return {half: stored[half] for half in "AB"}


CLASSES = ("a", "b", "c\nc", "d\rd", "e\u2028e")


@pytest.fixture(scope="module", params=[True, False])
def whole(request, tmp_path_factory):
    root = write_images(tmp_path_factory.mktemp("images"), CLASSES, train=3, val=2)
    out = tmp_path_factory.mktemp("whole")
    prepare(root, out, name="five", resize=20, crop=16, decode=request.param)
    return out


def test_halves_are_data_sets_that_share_the_pixels(whole, tmp_path):
    halves = halve(whole, tmp_path, seed=0)
    assert (len(halves["A"]), len(halves["B"])) == (3, 2)
    assert sorted(halves["A"] + halves["B"]) == list(CLASSES)
    original = open_split(whole, "train")
    pixels = dict(zip(original.paths, range(len(original)), strict=True))
    for half, classes in halves.items():
        split = open_split(tmp_path / half / "data", "train")
        assert split.info.name == f"five-{half}" and list(split.info.classes) == classes
        assert split.info.images == {"train": 3 * len(classes), "val": 2 * len(classes)}
        for index, path in enumerate(split.paths):
            assert path.split("/")[1] == classes[split.labels[index]]
            assert np.array_equal(split.image(index), original.image(pixels[path]))
    digests = {read_info(tmp_path / half / "data").digest for half in halves}
    assert len(digests | {read_info(whole).digest}) == 3


def test_the_seed_draws_the_halves_and_is_stored(whole, tmp_path):
    drawn = [halve(whole, tmp_path / str(seed), seed) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and any(other != drawn[0] for other in drawn[2:])
    stored = json.loads((tmp_path / "3/halves.json").read_text())
    assert stored["seed"] == 3 and {h: stored[h] for h in "AB"} == drawn[-1]


def test_too_few_classes_have_no_halves(prepared, tmp_path):
    with pytest.raises(UserError, match="has 3 classes; halves need at least 4"):
        halve(prepared, tmp_path, 0)


def test_a_recognizer_of_one_half_cannot_evaluate_the_other(whole, tmp_path, capsys):
    halve(whole, tmp_path, 0)
    sizes = ["--epochs", 1, "--threads", 1, "--device", "cpu", "--arch", "shufflenet_v2_x0_5"]
    train = ["train-recognizer", "--data", tmp_path / "A/data", "--save-dir", tmp_path / "R"]
    assert main([str(part) for part in (*train, *sizes)]) == 0
    words = ["evaluate", "--data", tmp_path / "B/data", "--task", "dn", "--model-sr", "none"]
    words += ["--recognizers", tmp_path / "R/recognizer.safetensors", "--save-dir", tmp_path / "x"]
    assert main([str(part) for part in words]) == 1
    assert "knows 3 classes, which are not the 2 of" in capsys.readouterr().err


def test_the_table_has_clean_images_and_each_p_and_both_halves_beside_each_other(tmp_path):
    def trained_on(half):
        return [
            write_evaluation(
                tmp_path / half / name / other,
                name,
                {"r18": "0000000001" if name == "plain" else hits},
                dataset=f"five-{other}",
            )
            for name in ("plain", "ra")
            for other, hits in (("A", "0000001111"), ("B", "0000000011"))
        ]

    def clean(half):
        hits = {"r18": "1111111100"}
        return write_evaluation(
            tmp_path / half / "clean", "clean", hits, task="none", dataset=f"five-{half}"
        )

    files = {f"trained_on_{half.lower()}": [clean(half), *trained_on(half)] for half in "AB"}
    write_categories(Categories(**files, save_dir=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out/categories.csv")
    assert len(table) == 8 + 2
    ceilings = table[table.p_model == "clean"]
    assert set(ceilings.evaluated_on) == {"A", "B"} and set(ceilings.score) == {80}
    assert ceilings[["trained_on", "difference", "p"]].isna().all(axis=None)
    across = table.query("p_model == 'ra' and trained_on == 'A' and evaluated_on == 'B'").squeeze()
    assert (across.score, across.difference, across.n) == (20, 10, 10)
    lines = (tmp_path / "out/categories.md").read_text().splitlines()
    assert len(lines) == 7 and "R_B on B: top-1" in lines[0] and "Clean Images" in lines[2]
    assert (tmp_path / "out/categories.png").stat().st_size > 1000
