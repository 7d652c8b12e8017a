"""`ra bench` at tiny sizes: every comparison writes its table; no test looks at a time."""

import mmap
from pathlib import Path

import pandas as pd
import pytest

from ra.bench.growth import mapping
from ra.cli import main

TINY = "--device cpu --repeats 1 --sizes 32 --batch-size 2 --steps 1 --channels 2 --blocks 1"
SMALL_R = "--arch squeezenet1_1 --recognizers squeezenet1_1 shufflenet_v2_x0_5 --tasks dn"


def bench(folder: Path, *arguments: str) -> int:
    return main(["bench", *arguments, *f"{TINY} {SMALL_R}".split(), "--save-dir", str(folder)])


def test_every_comparison_writes_a_table(tmp_path, capsys, monkeypatch):
    paper = {"channels": 4, "blocks": 1, "recognizers": ("shufflenet_v2_x0_5",)}
    monkeypatch.setattr("ra.bench.released.PAPER", paper)
    monkeypatch.setattr("ra.bench.manifest.IMAGES", 2000)
    comparisons = ["training", "released", "evaluation", "growth", "memory", "steps"]
    assert bench(tmp_path, *comparisons, "--objectives", "plain", "ra_unsupervised") == 0
    tables = {path.stem: pd.read_csv(path) for path in tmp_path.glob("*.csv")}
    assert set(tables) == {*comparisons, "sharing", "epochs", "manifest"}
    assert set(tables["manifest"].met) <= {"yes", "no"}
    assert list(tables["training"].objective) == ["plain", "ra_unsupervised"]
    released = tables["released"]
    assert list(zip(released.what, released.P, released["ours in"], strict=True)) == [
        (what, network, precision)
        for what, network in (
            ("training, ra", "2 x 1"), ("evaluation, 2 R", "2 x 1"),
            ("training, ra", "4 x 1"), ("training, plain", "4 x 1"), ("evaluation, 1 R", "4 x 1"),
        )
        for precision in ("fp32", "bf16")
    ]  # fmt: skip
    assert list(tables["evaluation"]["recognizers"]) == [1, 2]
    assert len(tables["growth"]) == 5
    assert set(tables["growth"]["s met"]) | set(tables["growth"]["MiB met"]) <= {"yes", "no"}
    for name in ("training", "released", "evaluation", "epochs"):
        ratios = tables[name]
        assert (ratios["min"] <= ratios["median"]).all(), name
        assert (ratios["median"] <= ratios["max"]).all(), name
        assert set(ratios.met) <= {"yes", "no"}
    memory = tables["memory"].iloc[0]
    assert memory["best"] == pytest.approx(memory["ours MiB"] / memory["released MiB"])
    assert min(memory["ours MiB"], memory["released MiB"]) > 50  # torch alone takes more
    # The jobs that read one cache at once hold one copy of it.
    shared = tables["sharing"].iloc[0]
    assert shared["mapped KiB, all jobs"] >= 3 * shared["cache KiB"]
    assert shared["of these private KiB"] == 0
    # What was not asked for is not guessed.
    compiled = tables["steps"].set_index("variant").loc["compiled"]
    assert compiled[["min", "median", "max", "best"]].isna().all()
    assert "not measured" in (tmp_path / "steps.md").read_text()
    assert "not measured" not in (tmp_path / "training.md").read_text()
    assert (tmp_path / "training.md").read_text() in capsys.readouterr().out


def test_a_mapping_is_found_among_the_others(tmp_path):
    path = tmp_path / "pixels.bin"
    path.write_bytes(bytes(64 * 4096))
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert sum(pages[start] for start in range(0, len(pages), 4096)) == 0
        assert mapping(path)["Rss"] == 256
    assert mapping(path) == {"Rss": 0, "Pss": 0, "private": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainig"], "comparisons: 'trainig' should be 'training'"),
        (["dag"], "--results: needed by dag"),
        (["training", "--steps", "1", "2"], "--steps: 2 values for 1 sizes"),
        (["training", "--repeats", "0"], "--repeats: '0' should be greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    sizes = ["--sizes", "32", "--batch-size", "2", "--device", "cpu"]
    command = ["bench", *arguments[:1], *sizes, "--steps", "1", *arguments[1:]]
    assert main([*command, "--save-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
