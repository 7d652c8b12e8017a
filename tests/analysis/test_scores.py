"""Accuracies and differences of the analyses' tables, from answers made by hand."""

import numpy as np
import pytest
from helpers import write_evaluation

from ra.analysis.scores import OTHERS, load, score
from ra.errors import UserError
from ra.evaluation.statistics import NORMAL

PLAIN = {"r18": "0000011111", "a": "0000000000", "b": "1111111111"}
RA = {"r18": "0111111111", "a": "1000000000", "b": "1111111111"}


@pytest.fixture
def evaluated(tmp_path):
    paths = [
        write_evaluation(tmp_path / name, name, hits)
        for name, hits in (("plain", PLAIN), ("ra", RA))
    ]
    return load(paths, group="g")


def row(table, p_model, r):
    return table[(table.p_model == p_model) & (table.evaluation_r == r)].squeeze()


def test_a_row_has_accuracy_quality_and_the_difference_to_plain(evaluated):
    found = row(score(evaluated), "ra", "r18")
    assert (found.score, found.difference, found.p, found.n, found.seeds) == (90, 40, 0.125, 10, 1)
    assert found.score_low < 90 < found.score_high and (found.psnr, found.ssim) == (20, 0.4)
    assert found.group == "g"
    assert np.isnan(row(score(evaluated), "plain", "r18").difference)


def test_p_is_adjusted_for_all_tests_of_the_table(evaluated):
    tests = score(evaluated).dropna(subset="p")
    assert len(tests) == 3 and row(tests, "ra", "r18").p_holm == 3 * 0.125
    assert score(evaluated).p_holm.isna().sum() == 3, "plain has no test"


def test_the_mean_of_the_others_leaves_the_training_r_out(evaluated):
    table = score(evaluated, training_r="r18")
    assert row(table, "plain", OTHERS).score == 50
    found = row(table, "ra", OTHERS)
    assert found.score == pytest.approx(55) and found.difference == pytest.approx(5)
    # Ten differences, one of 50 points: their standard error is 5.
    assert found.difference_high == pytest.approx(5 + NORMAL * 5) and np.isnan(found.p)


def test_seeds_are_averaged_with_students_interval(tmp_path):
    paths = [
        write_evaluation(tmp_path / f"{name}{seed}", name, {"r18": hits}, seed=seed)
        for seed, ra in ((0, "0111111111"), (1, "0011111111"))
        for name, hits in (("plain", PLAIN["r18"]), ("ra", ra))
    ]
    found = row(score(load(paths)), "ra", "r18")
    assert (found.score, found.difference, found.seeds) == (85, 35, 2)
    # Of 30 and 40: standard error 5, t(0.975, 1) = 12.706.
    assert found.difference_high == pytest.approx(35 + 12.706 * 5, abs=0.01)


def test_without_a_baseline_there_is_no_p(tmp_path):
    paths = [
        write_evaluation(tmp_path / str(seed), "ra", {"r18": "0011"}, psnr=20.0 + seed, seed=seed)
        for seed in (0, 1, 2)
    ]
    found = row(score(load(paths)), "ra", "r18")
    assert found.seeds == 3 and found.psnr == 21 and np.isnan(found.p) and np.isnan(found.p_holm)


def test_the_baseline_may_be_another(evaluated):
    table = score(evaluated, lambda labels: {**labels, "p_model": "ra", "lambda": 0.1})
    assert np.isnan(row(table, "plain", "r18").difference)  # plain has another training R
    table = score(
        evaluated, lambda labels: {**labels, "p_model": "ra", "lambda": 0.1, "training_r": "r18"}
    )
    assert row(table, "plain", "r18").difference == -40


def test_two_results_for_one_seed_are_an_error_not_two_seeds(evaluated, tmp_path):
    wide = load([write_evaluation(tmp_path / "wide", "plain", {"r18": PLAIN["a"]})], group="g")
    with pytest.raises(UserError, match="two results for d sr plain 0.0 none 0 g; give one"):
        score([*evaluated, *wide])


def test_a_baseline_without_a_common_recognizer_leaves_the_difference_empty(tmp_path):
    paths = [
        write_evaluation(tmp_path / "plain", "plain", {"a": PLAIN["a"]}),
        write_evaluation(tmp_path / "ra", "ra", {"r18": RA["r18"]}),
    ]
    assert score(load(paths))[["difference", "p"]].isna().all(axis=None)


def test_clean_images_are_the_ceiling_of_every_task_and_no_hypothesis(tmp_path):
    clean = write_evaluation(tmp_path / "clean", "clean", {"r18": "1111111111"}, task="none")
    plain = [
        write_evaluation(tmp_path / task, "plain", {"r18": PLAIN["r18"]}, task=task)
        for task in ("sr", "dn")
    ]
    table = score(load([clean, *plain]))
    ceilings = table[table.p_model == "clean"]
    assert ceilings.task.tolist() == ["sr", "dn"] and ceilings.difference.tolist() == [50, 50]
    assert ceilings.p.isna().all() and table.p_holm.isna().all()


def test_what_nothing_trained_is_compared_with_the_plain_of_every_seed(tmp_path):
    paths = [
        write_evaluation(tmp_path / f"plain{seed}", "plain", {"r18": hits}, seed=seed)
        for seed, hits in enumerate(("0000011111", "0000001111"))
    ]
    for name, hits in (("clean", "1111111110"), ("no_processing", "1000000000")):
        paths.append(write_evaluation(tmp_path / name, name, {"r18": hits}))
    table = score(load(paths))
    for name, value, gain in (("clean", 90, 45), ("no_processing", 10, -35)):
        found = row(table, name, "r18")
        assert (found.score, found.difference, found.seeds) == (value, gain, 2)
        assert found.score_low < value < found.score_high, "over images: it has no seeds"
        assert found.difference_low < gain < found.difference_high
        assert np.isnan(found.p) == (name == "clean")
