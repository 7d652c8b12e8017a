"""Processors against the plain one, from files as `ra evaluate` writes them."""

import weakref

import pandas as pd
import pytest
from helpers import write_evaluation

from ra.errors import UserError
from ra.reporting.significance import (
    read_answers,
    readable,
    significance,
    write_significance,
)

HITS = {
    "no_processing": "0000000000",
    "plain": "0000011111",
    "ra": "0111111111",
    "ra_transformer": "1000011111",
}


def evaluation(folder, p_model, hits, seed=0, paths=None):
    return write_evaluation(folder, p_model, {"r18": hits, "other": hits}, paths, seed=seed)


@pytest.fixture
def evaluations(tmp_path):
    return [evaluation(tmp_path / name, name, hits) for name, hits in HITS.items()]


def test_every_processor_is_compared_with_plain_for_every_recognizer(evaluations):
    table = significance(evaluations)
    assert list(zip(table.p_model, table.evaluation_r, strict=True)) == [
        ("ra", "r18"),
        ("ra", "other"),
        ("ra_transformer", "r18"),
        ("ra_transformer", "other"),
    ]
    first = table.iloc[0]
    assert (first.difference, first.n, first.p) == (40, 10, 2 / 2**4)
    assert first.p_holm == pytest.approx(4 * first.p)


def test_clean_images_are_no_row(evaluations, tmp_path):
    clean = evaluation(tmp_path / "clean", "clean", "1111111111")
    assert set(significance([clean, *evaluations]).p_model) == {"ra", "ra_transformer"}


def test_seeds_are_paired_and_then_averaged(tmp_path):
    paths = [
        evaluation(tmp_path / f"{name}{seed}", name, hits, seed)
        for seed, ra in ((0, "0111111111"), (1, "0011111111"))
        for name, hits in (("plain", HITS["plain"]), ("ra", ra))
    ]
    table = significance(paths).query("evaluation_r == 'r18'")
    assert dict(zip(table.seed, table.difference, strict=True)) == {0: 40, 1: 30, "all": 35}


def test_without_plain_the_table_is_empty_and_written(evaluations, tmp_path):
    write_significance(evaluations[:1], tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out/significance.csv")) == 0
    assert (tmp_path / "out/significance.md").exists()


def test_tables_show_titles_and_the_interval(evaluations, tmp_path):
    write_significance(evaluations, tmp_path / "out")
    first = readable(significance(evaluations)).iloc[0]
    assert first[["Task", "P Model"]].tolist() == ["Super-resolution", "RA Processing"]
    # Tango's lower limit, widened to 0: the exact p is 0.125.
    assert first.iloc[4].startswith("+40.0 [+0.0, +6")
    for kind in ("md", "tex"):
        assert "+40.0 [" in (tmp_path / f"out/significance.{kind}").read_text()


def test_other_images_are_refused(evaluations, tmp_path):
    other = evaluation(tmp_path / "x", "ra", "01" * 5, paths=[f"y{i}" for i in range(10)])
    with pytest.raises(UserError, match="sr ra and plain, seed 0: not answers to the same images"):
        significance([*evaluations, other])


def test_missing_answers_are_named(evaluations):
    evaluations[1].with_name("images.csv").unlink()
    with pytest.raises(UserError, match="plain/images.csv: cannot be read as per-image answers"):
        significance(evaluations)


def test_two_plain_processors_are_not_one(evaluations, tmp_path):
    other = write_evaluation(tmp_path / "wide", "plain", {"r18": HITS["ra"]}, value=90)
    with pytest.raises(UserError, match="plain/evaluation.csv and .*wide/evaluation.csv: two res"):
        significance([*evaluations, other])


def test_recognizers_may_be_spread_over_files(tmp_path):
    paths = [
        write_evaluation(tmp_path / f"{name}{r}", name, {r: HITS[name]}, evaluation_r=r)
        for r in ("r18", "other")
        for name in ("plain", "ra")
    ]
    assert significance(paths).evaluation_r.tolist() == ["r18", "other"]


def test_memory_does_not_grow_with_the_number_of_evaluations(tmp_path, monkeypatch):
    kept, alive = [], []

    def read(path):
        images = read_answers(path)
        kept.append(weakref.ref(images))
        alive.append(sum(one() is not None for one in kept))
        return images

    monkeypatch.setattr("ra.reporting.significance.read_answers", read)
    names = [(name, seed) for seed in range(4) for name in ("plain", "ra", "ra_transformer")]
    significance([evaluation(tmp_path / f"{n}{seed}", n, HITS[n], seed) for n, seed in names])
    assert len(alive) == 12 and max(alive) <= 3


def test_columns_that_no_test_needs_are_not_read(evaluations):
    assert list(read_answers(evaluations[1])) == [
        *("index", "label", "psnr", "ssim", "r18:top1", "other:top1", "path")
    ]


def test_over_folders_each_comparison_is_tested_again(tmp_path):
    paths = [f"val/{'ab'[i > 4]}/{i}.png" for i in range(10)]
    found = [evaluation(tmp_path / name, name, hits, paths=paths) for name, hits in HITS.items()]
    table = significance(found, clusters="folder")
    first = table.iloc[0]
    # +80 points in one folder, 0 in the other: two folders show nothing.
    assert (first.difference, first.n_folder) == (40, 2)
    assert first.low_folder < 0 < first.high_folder and first.p_holm_folder == 1
    assert "[-468.2, +548.2]" in readable(table)["over folders"].iloc[0]
    assert "p_folder" not in significance(found)


def test_means_over_seeds_have_no_interval_over_folders(tmp_path):
    found = [
        evaluation(
            tmp_path / f"{name}{seed}", name, hits, seed, paths=[f"{i}/x" for i in range(10)]
        )
        for seed in (0, 1)
        for name, hits in (("plain", HITS["plain"]), ("ra", HITS["ra"]))
    ]
    first = readable(significance(found, clusters="folder")).iloc[0]  # several seeds lead
    assert first["Seed"] == "all" and first["over folders"] == ""


def test_an_interval_that_is_not_known_is_left_out(tmp_path):
    """Seeds that agree have no spread, and a single image has no interval."""
    paths = [
        evaluation(tmp_path / f"{name}{seed}", name, hits, seed)
        for name, hits in (("plain", "01"), ("ra", "11"))
        for seed in (0, 1)
    ]
    write_significance(paths, tmp_path, clusters="folder")
    text = "".join((tmp_path / f"significance.{kind}").read_text() for kind in ("md", "tex"))
    assert "+50.0 [" in text and "| +50.0  " in text and "nan" not in text
