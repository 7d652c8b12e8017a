"""Beyond the paper: the baseline of each row, recognizers and ensembles by the commands."""

import pandas as pd
import pytest
from helpers import write_evaluation

from ra.analysis.command_settings import Extras
from ra.analysis.extras import write_extras
from ra.cli import main
from ra.models.checkpoints import load_recognizer, read_header


def call(*arguments):
    return main([str(part) for part in arguments])


def test_rows_are_compared_with_their_groups_plain_and_plain_with_the_first_groups(tmp_path):
    answers = {
        ("first", "plain"): "0000000001",
        ("first", "ra"): "0000000011",
        ("second", "plain"): "0000000111",
        ("second", "ra"): "0000001111",
    }
    groups = [
        [group]
        + [
            str(write_evaluation(tmp_path / group / p_model, p_model, {"r18": hits}))
            for (name, p_model), hits in answers.items()
            if name == group
        ]
        for group in ("first", "second")
    ]
    write_extras(Extras(group=groups, save_dir=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out/extras.csv").set_index(["group", "p_model"])
    assert table.difference.dropna().to_dict() == {
        ("first", "ra"): 10,
        ("second", "plain"): 20,
        ("second", "ra"): 10,
    }
    assert len((tmp_path / "out/extras.md").read_text().splitlines()) == 6
    assert (tmp_path / "out/extras.png").stat().st_size > 1000


def test_what_trains_p_otherwise_is_also_compared_with_ra(tmp_path):
    answers = {"plain": "0000000001", "ra": "0000000011", "perceptual": "0000011111"}
    paths = [str(write_evaluation(tmp_path / p, p, {"r18": hits})) for p, hits in answers.items()]
    both = write_evaluation(tmp_path / "both", "ra", {"r18": "0000001111"}, training_r="r18+b")
    write_extras(Extras(group=[("first", *paths, str(both))], save_dir=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out/extras.csv").set_index(["p_model", "training_r"])
    assert table.ra_difference.dropna().to_dict() == {
        ("perceptual", "r18"): 30,
        ("ra", "r18+b"): 20,
    }
    assert table.ra_p["perceptual", "r18"] == 2 / 2**3


def test_a_group_without_plain_is_compared_with_the_first_groups(tmp_path):
    """Such as P and the R that was trained with it, beside an R that was only fine-tuned."""
    answers = {"plain": "0000000001", "ra": "0000000011", "sr4ir": "0000000111"}
    paths = [str(write_evaluation(tmp_path / p, p, {"r18": hits})) for p, hits in answers.items()]
    own = str(write_evaluation(tmp_path / "own", "sr4ir", {"r18": "0001111111"}))
    tuned = str(write_evaluation(tmp_path / "tuned", "plain", {"r18": "0000111111"}))
    groups = [("first", *paths), ("fine-tuned", tuned), ("together", own)]
    write_extras(Extras(group=groups, save_dir=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out/extras.csv").set_index(["group", "p_model"])
    assert table.difference["together", "sr4ir"] == 60
    assert table.ra_difference["together", "sr4ir"] == 50
    assert table.ra_difference["first", "sr4ir"] == 10
    assert table.difference["fine-tuned", "plain"] == 50


@pytest.fixture(scope="module")
def zoo(prepared, tmp_path_factory):
    """Two recognizers and a plain processor, one epoch each."""
    out = tmp_path_factory.mktemp("zoo")
    shared = ["--data", prepared, "--epochs", 1, "--threads", 1, "--device", "cpu"]
    for arch in ("mobilenet_v3_small", "shufflenet_v2_x0_5"):
        assert call("train-recognizer", "--arch", arch, *shared, "--save-dir", out / arch) == 0
    small = ["--task", "dn", "--channels", 4, "--blocks", 1]
    assert call("train", *shared, *small, "--mode", "plain", "--save-dir", out / "plain") == 0
    return out, shared, small


def test_an_ensemble_trains_p_from_the_command_line(zoo, tmp_path, capsys):
    out, shared, small = zoo
    files = [
        out / a / "recognizer.safetensors" for a in ("mobilenet_v3_small", "shufflenet_v2_x0_5")
    ]
    arch = ["--arch", "mobilenet_v3_small+shufflenet_v2_x0_5"]
    train = ["train", *shared, *small, *arch, "--save-dir", tmp_path]
    assert call(*train, "--recognizer", *files) == 0
    header = read_header(tmp_path / "processor.safetensors")
    assert header["recognizer"] == "mobilenet_v3_small+shufflenet_v2_x0_5"
    assert call(*train, "--recognizer", *files, files[0]) == 1
    assert "--recognizer: 3 files for 2 recognizers" in capsys.readouterr().err


def test_an_r_that_is_trained_further_begins_where_it_was_and_says_through_what(zoo, tmp_path):
    out, shared, _ = zoo
    stored, model = (
        out / "mobilenet_v3_small/recognizer.safetensors",
        out / "plain/processor.safetensors",
    )
    train = ["train-recognizer", "--arch", "mobilenet_v3_small", *shared, "--save-dir", tmp_path]
    assert call(*train, "--lr", 1e-12, "--fine-tune", stored, "--model-sr", model) == 0
    header = read_header(tmp_path / "recognizer.safetensors")
    assert header["crop"] == 16  # `ra predict` warns of images that are much larger
    assert header["learned_through"]["task"] == "dn"
    assert header["learned_through"]["objective"] == "plain"
    before = dict(load_recognizer(stored).named_parameters())
    after = dict(load_recognizer(tmp_path / "recognizer.safetensors").named_parameters())
    assert all(abs(after[name] - value).max() < 1e-6 for name, value in before.items())
