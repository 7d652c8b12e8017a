"""The sweep's table: order, differences and Pareto points."""

import numpy as np
import pandas as pd
import pytest
from helpers import write_evaluation

from ra.analysis.command_settings import LambdaSweep
from ra.analysis.lambdas import pareto, write_lambdas
from ra.errors import UserError

# lambda: (PSNR, answers of the training R, answers of the other)
SWEEP = {
    0.01: (18.0, "0111111111", "0000011111"),
    0: (20.0, "0000011111", "0000000111"),
    0.001: (21.0, "0001111111", "0000000111"),
}


def sweep(evaluations, training_r, out) -> None:
    write_lambdas(LambdaSweep(evaluations=evaluations, training_r=training_r, save_dir=out))


@pytest.fixture
def evaluations(tmp_path):
    return [
        write_evaluation(
            tmp_path / f"{value}",
            "ra" if value else "plain",
            {"r18": own, "other": other},
            psnr=psnr,
            **{"lambda": float(value)},
        )
        for value, (psnr, own, other) in SWEEP.items()
    ]


def test_pareto_points_are_those_nothing_beats():
    accuracy, quality = [50, 60, 55, 60], [30, 28, 27, 28]
    assert pareto(accuracy, quality).tolist() == [True, True, False, True]
    generator = np.random.default_rng(0)
    points = generator.integers(0, 6, (40, 2))
    wanted = [not any((q >= p).all() and (q > p).any() for q in points) for p in points]
    assert pareto(*points.T).tolist() == wanted


def test_what_was_not_measured_is_no_pareto_point():
    nan = float("nan")
    assert pareto([50, nan, 60], [30, 40, nan]).tolist() == [True, False, False]


def test_rows_go_by_lambda_and_plain_is_its_zero(evaluations, tmp_path):
    sweep(evaluations, "r18", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/lambdas.csv").query("evaluation_r == 'r18'")
    assert table["lambda"].tolist() == [0, 0.001, 0.01]
    assert table.difference.tolist()[1:] == [20, 40]
    assert table.pareto_psnr.tolist() == [False, True, True]


def test_the_table_shows_the_training_r_and_the_mean_of_the_others(evaluations, tmp_path):
    sweep(evaluations, "r18", tmp_path / "out")
    lines = (tmp_path / "out/lambdas.md").read_text().splitlines()
    assert len(lines) == 5
    assert "r18 (training R)" in lines[0] and "mean of others" in lines[0]
    assert "90.0 [" in lines[-1] and "+40.0 [" in lines[-1] and "50.0 [" in lines[-1]
    assert (tmp_path / "out/lambdas.png").stat().st_size > 1000


def test_clean_images_are_the_first_row_and_a_line(evaluations, tmp_path):
    hits = {"r18": "1111111111", "other": "1111111111"}
    clean = write_evaluation(tmp_path / "clean", "clean", hits, task="none")
    sweep([*evaluations, clean], "r18", tmp_path / "out")
    lines = (tmp_path / "out/lambdas.md").read_text().splitlines()
    assert len(lines) == 6 and "Clean Images" in lines[2] and "100.0 [" in lines[2]


def test_a_training_recognizer_without_evaluation_is_named(evaluations, tmp_path):
    with pytest.raises(UserError, match="--training-r: vgg11 is in no evaluation"):
        sweep(evaluations, "vgg11", tmp_path / "out")


def test_any_measure_is_swept_and_one_is_needed(evaluations, tmp_path):
    """LPIPS is better where it is lower."""
    for path, value in zip(evaluations, (0.3, 0.1, 0.2), strict=True):
        images = pd.read_csv(path.with_name("images.csv")).assign(lpips=value)
        images.drop(columns="psnr").to_csv(path.with_name("images.csv"), index=False)
    sweep(evaluations, "r18", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/lambdas.csv").query("evaluation_r == 'r18'")
    assert "psnr" not in table and table.lpips.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert table.pareto_lpips.tolist() == [True, True, True]
    header = (tmp_path / "out/lambdas.md").read_text().splitlines()[0]
    assert "LPIPS [95 %]" in header and "Pareto (others; SSIM / LPIPS)" in header
    for path in evaluations:
        images = pd.read_csv(path.with_name("images.csv"))
        images.drop(columns=["ssim", "lpips"]).to_csv(path.with_name("images.csv"), index=False)
    with pytest.raises(UserError, match="no measure of image quality in them; add psnr"):
        sweep(evaluations, "r18", tmp_path / "out")
