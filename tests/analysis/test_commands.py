"""The commands of the transfer analyses, as the rules call them."""

import pytest
from helpers import write_evaluation

from ra.cli import main


def call(*arguments):
    return main([str(part) for part in arguments])


@pytest.mark.parametrize("name", ["split-classes", "categories", "lambda-sweep", "extras"])
def test_help_explains_every_flag(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(name, "--help")
    assert stopped.value.code == 0
    assert "default: None" not in capsys.readouterr().out


@pytest.fixture
def files(tmp_path):
    hits = {"plain": "00000111", "ra": "00111111"}
    return {
        (half, name, other): write_evaluation(
            tmp_path / half / name / other, name, {"r18": text, "b": text}, dataset=f"d-{other}"
        )
        for half in "AB"
        for other in "AB"
        for name, text in hits.items()
    }


def test_each_writes_its_table_and_its_plot(files, tmp_path):
    out = ["--save-dir", tmp_path / "out"]
    own = [files["A", name, "A"] for name in ("plain", "ra")]
    one_r = {half: [f for (h, _, _), f in files.items() if h == half] for half in "AB"}
    assert call("lambda-sweep", "--evaluations", *own, "--training-r", "r18", *out) == 0
    assert call("extras", "--group", "first", *own, "--group", "second", own[0], *out) == 0
    halves = ["--trained-on-a", *one_r["A"], "--trained-on-b", *one_r["B"]]
    assert call("categories", *halves, *out) == 0
    for name in ("lambdas", "extras", "categories"):
        for kind in ("csv", "md", "png"):
            assert (tmp_path / f"out/{name}.{kind}").stat().st_size > 100


def test_a_group_needs_files(files, tmp_path, capsys):
    first = files["A", "plain", "A"]
    arguments = ["--group", "first", first, "--group", "second", "--save-dir", tmp_path]
    assert call("extras", *arguments) == 1
    assert "--group second: no evaluation.csv behind the name" in capsys.readouterr().err
