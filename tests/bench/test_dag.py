"""Overhead and timeline of a finished experiment, from files as Snakemake and jobs leave them."""

import os

import pytest
from PIL import Image

from ra.bench.dag import busy, compare, draw_timeline, lanes, makespan, read_jobs
from ra.cli import main
from ra.errors import UserError

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def finish(folder, step, end, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step}.benchmark.tsv"
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t1\t1\t1\t1\t1\t1\t90\t1.5\n")
    os.utime(path, (end, end))


@pytest.fixture
def results(tmp_path):
    """Two trainings at once and an evaluation: 10 s, 5 s, 6 s, of which 8, 3 and 3.5 s work."""
    one, two = tmp_path / "set/sr/plain", tmp_path / "set/recognizers/resnet18"
    finish(one, "train", 1010, 10)
    (one / "training.csv").write_text("epoch,seconds\n1,5.0\n2,3.0\n")
    finish(one, "evaluate", 1018, 6)
    (one / "evaluation.json").write_text('{"seconds": 3.5}')
    finish(two, "train", 1006, 5)
    (two / "training.csv").write_text("epoch,seconds\n1,3.0\n")
    return tmp_path


def test_overhead_is_what_is_neither_training_nor_evaluation(results):
    rows = {row["jobs of"]: row for row in compare(results)}
    assert {kind: row["work s"] for kind, row in rows.items()} == {
        "train": 8.0,
        "train R": 3.0,
        "evaluate": 3.5,
        "all jobs": 14.5,
    }
    assert rows["all jobs"]["s"] == 21
    assert rows["all jobs"]["overhead / work"] == pytest.approx(6.5 / 14.5)
    assert rows["all jobs"]["met"] == "no"


def test_when_how_many_jobs_ran(results):
    jobs = read_jobs(results)
    assert makespan(jobs) == 18
    assert busy(jobs) == pytest.approx({0: 2, 1: 11, 2: 5})
    assert lanes(jobs) == [0, 1, 0]


def test_the_command_writes_both_tables_and_the_picture(results, tmp_path):
    out = tmp_path / "bench"
    assert main(["bench", "dag", "--results", str(results), "--save-dir", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "dag.csv",
        "dag.md",
        "concurrency.csv",
        "concurrency.md",
        "timeline.png",
    }
    assert "| 2              | 5" in (out / "concurrency.md").read_text()


def test_the_timeline_is_a_picture(results, tmp_path):
    draw_timeline(tmp_path / "timeline.png", read_jobs(results))
    with Image.open(tmp_path / "timeline.png") as picture:
        assert picture.width > 1000


def test_a_folder_without_jobs_is_named(tmp_path):
    with pytest.raises(UserError, match="no \\*.benchmark.tsv"):
        read_jobs(tmp_path)
