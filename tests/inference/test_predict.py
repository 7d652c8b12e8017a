"""``ra predict``: answers before and after a processor, marked and summed up."""

import contextlib
import os
import re

import pandas as pd
import pytest
from PIL import Image

from ra.cli import main
from ra.inference.predict import Classifier, summary, table
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import save_model
from ra.models.recognizers import freeze

HEADER = {"kind": "recognizer", "classes": ["x", "y", "z"], "crop": 16}


@pytest.fixture
def classifier(tmp_path, recognizer):
    path = tmp_path / "recognizer.safetensors"
    save_model(path, recognizer, {**HEADER, "arch": "squeezenet1_1"})
    return path


def predict(model, *arguments):
    return main(["predict", "--model", str(model), *(str(part) for part in arguments)])


def test_answers_before_and_after_are_printed_and_written(
    model, photos, tmp_path, classifier, capsys
):
    csv = tmp_path / "answers.csv"
    flags = ["--recognizers", classifier, "--resize", 32, "--degrade", "--csv", csv]
    assert predict(model, photos, *flags) == 0
    said = capsys.readouterr().out
    assert "before" in said and said.count("squeezenet1_1") == 3
    assert re.search(rf"\n\npredict: \d of 3 answers changed; .* after -> {csv}\n$", said)
    answers = pd.read_csv(csv)
    assert list(answers) == ["image", "recognizer", "before", "before_p", "after", "after_p"]
    assert set(answers.before) | set(answers.after) <= {"x", "y", "z"}
    assert answers.after_p.between(100 / 3, 100).all()


def test_the_table_marks_what_changed_and_sums_up():
    answers = pd.DataFrame(
        {"image": ["a", "b"], "recognizer": "r", "before": ["x", "y"], "before_p": [40.0, 60.0]}
    ).assign(after=["x", "z"], after_p=[50.0, 80.0])
    lines = table(answers).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:4]] == ["", "yes"]
    wanted = "1 of 2 answers changed; mean confidence 50.0 % before, 65.0 % after"
    assert summary(answers) == f"predict: {wanted}"


def test_an_image_is_turned_upright_as_in_every_command(model, tmp_path, classifier):
    """The same pixels, stored on their side with EXIF orientation 6, get the same answer."""
    upright = Image.linear_gradient("L").resize((24, 40)).convert("RGB")
    upright.save(tmp_path / "1.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "2.png", exif=exif)
    flags = ["--recognizers", classifier, "--csv", tmp_path / "answers.csv"]
    assert predict(model, tmp_path / "?.png", *flags) == 0
    answers = pd.read_csv(tmp_path / "answers.csv")
    first, second = (answers.iloc[row, 2:].tolist() for row in (0, 1))
    assert first == second


def test_bad_images_are_named_and_the_others_classified(model, photos, classifier, capsys):
    (photos / "a.png").write_bytes(b"nothing")
    assert predict(model, photos, "--recognizers", classifier) == 1
    said = capsys.readouterr()
    assert said.out.count("squeezenet1_1") == 2
    assert f"{photos / 'a.png'} cannot be read: is not an image\n" in said.err
    assert "1 of 3 images were not classified" in said.err


def test_a_name_that_is_not_utf_8_is_shown_escaped(model, tmp_path, classifier, capsys):
    folder = tmp_path / "latin"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / os.fsdecode(b"caf\xe9.png"))
    csv = tmp_path / "answers.csv"
    assert predict(model, folder, "--recognizers", classifier, "--csv", csv) == 0
    assert "caf\\xe9.png" in capsys.readouterr().out
    assert "caf\\xe9.png" in csv.read_text(encoding="utf-8")


def test_an_image_too_small_for_the_recognizer_is_one_line(tmp_path, model, capsys):
    """A 1x1 image becomes 4x4, and densenet121 halves its input five times."""
    network = freeze(build_recognizer("densenet121", 3))
    path = tmp_path / "recognizer.safetensors"
    save_model(path, network, {**HEADER, "arch": "densenet121"})
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    assert predict(model, tmp_path / "one.png", "--recognizers", path) == 1
    said = capsys.readouterr().err
    start = f"{tmp_path / 'one.png'}: densenet121: cannot classify images of 4x4 px ("
    assert [line for line in said.splitlines() if line.startswith(start)]
    assert "--resize" in said and "Traceback" not in said


@pytest.mark.parametrize("side", [0, -1])
def test_a_side_that_is_no_size_is_one_line(model, photos, classifier, capsys, side):
    with contextlib.suppress(SystemExit):
        assert predict(model, photos, "--recognizers", classifier, "--resize", side) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "resize" in said[0] and "1" in said[0]


def test_images_far_larger_than_the_crop_are_warned_of(model, photos, classifier, capsys):
    """48x32 px after the processor: three times what the recognizer was trained on."""
    assert predict(model, photos, "--recognizers", classifier) == 0
    said = capsys.readouterr().err
    assert said.count("squeezenet1_1 was trained on 16-px images") == 1
    assert "48x32 px" in said and "--resize 16" in said
    assert predict(model, photos, "--recognizers", classifier, "--resize", 32) == 0
    assert "warning" not in capsys.readouterr().err


def test_no_warning_where_the_recognizer_resizes_or_its_crop_is_unknown(recognizer):
    assert Classifier("r", recognizer, [], None).warning((999, 999)) is None
    recognizer.input_size = 224
    assert Classifier("r", recognizer, [], 16).warning((999, 999)) is None
