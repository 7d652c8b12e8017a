"""P's against the plain one, from files as `ra evaluate` writes them."""

import pandas as pd
import pytest
from helpers import write_evaluation

from ra.errors import UserError
from ra.reporting.significance import readable, significance, write_significance

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


def test_every_p_is_compared_with_plain_by_every_r(evaluations):
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


def test_tables_name_p_and_show_the_interval(evaluations, tmp_path):
    write_significance(evaluations, tmp_path / "out")
    first = readable(significance(evaluations)).iloc[0]
    assert first["P Model"] == "RA Processing"
    assert first.iloc[4].startswith("+40.0 [+10.0, +70.0]")
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
