"""From a folder of photographs without labels to a table of agreement, by commands."""

import re

import pandas as pd
import pytest
from helpers import write_pairs, write_photographs, write_recognizer
from PIL import Image

from ra.cli import main
from ra.inference.predict import open_classifier
from ra.models.checkpoints import read_header, save_model
from ra.models.user_recognizer import load_user_recognizer

TINY = ["--channels", "4", "--blocks", "1", "--epochs", "1", "--device", "cpu"]


def call(*arguments):
    assert main([str(part) for part in arguments]) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data prepared without labels, and evaluations of plain and unsupervised."""
    place = tmp_path_factory.mktemp("unlabelled")
    root, own = write_photographs(place / "photos", 24), write_recognizer(place)
    call(
        "prepare",
        "--data",
        root,
        "--resize",
        20,
        "--crop",
        16,
        "--val-share",
        0.4,
        "--save-dir",
        place / "data",
    )
    shared = ["--data", place / "data", "--task", "dn", *TINY]
    for mode in ("plain", "ra_unsupervised"):
        out = place / mode
        r = ["--arch", "my_net", "--recognizer", own] if mode != "plain" else []
        call("train", *shared, "--mode", mode, "--epochs", 3, *r, "--save-dir", out)
        for workers in (0, 1):
            more = ["--workers", workers, "--save-dir", out / f"w{workers}", "--device", "cpu"]
            model = ["--model-sr", out / "processor.safetensors", "--recognizers", own]
            call("evaluate", "--data", place / "data", *model, *more)
    return place


def test_agreement_is_with_the_answer_to_the_clean_image(place):
    images = pd.read_csv(place / "plain/w0/images.csv")
    assert (images.label == -1).all() and 0 < images["my_net:agreement"].mean() < 1
    assert images["my_net:clean"].nunique() > 1
    assert images["my_net:agreement"].tolist() == [
        int(a == b)
        for a, b in zip(images["my_net:prediction"], images["my_net:clean"], strict=True)
    ]
    tidy = pd.read_csv(place / "plain/w0/evaluation.csv").set_index("metric")
    assert tidy.value.agreement == pytest.approx(100 * images["my_net:agreement"].mean())
    assert tidy.low.agreement < tidy.value.agreement + 1e-9 <= tidy.high.agreement + 2e-9
    assert tidy.value.agreement5 >= tidy.value.agreement and "top1" not in tidy.index


def test_the_strip_shows_the_output_of_plain_above_that_of_another_processor(place, tmp_path):
    model, plain = (place / mode / "processor.safetensors" for mode in ("ra_unsupervised", "plain"))
    more = ["--data", place / "data", "--recognizers", place / "my_net.yaml", "--device", "cpu"]
    call("evaluate", "--model-sr", model, "--plain", plain, *more, "--save-dir", tmp_path)
    ours = Image.open(tmp_path / "strip.png")
    rows = {
        name: Image.open(place / f"{name}/w0/strip.png") for name in ("plain", "ra_unsupervised")
    }

    def last(strip, row):
        side = 192 + 6
        box = strip.width - side, row * side, strip.width - 6, row * side + 192
        return strip.crop(box).tobytes()

    assert [last(ours, row) for row in range(4)] == [
        last(rows["plain"], 0),
        last(rows["plain"], 1),
        last(rows["ra_unsupervised"], 1),
        last(rows["plain"], 2),
    ]
    assert ours.height * 3 == rows["plain"].height * 4


def test_any_number_of_workers_gives_the_same_numbers(place):
    for mode in ("plain", "ra_unsupervised"):
        one, two = (place / mode / f"w{n}/evaluation.csv" for n in (0, 1))
        assert one.read_bytes() == two.read_bytes()


def test_tables_and_report_are_of_agreement(place):
    evaluations = [place / mode / "w0/evaluation.csv" for mode in ("plain", "ra_unsupervised")]
    call("table", "--significance", "--save-dir", place / "t", "--evaluations", *evaluations)
    table = pd.read_csv(place / "t/dn.csv")
    assert table["P Model/Evaluation on R"].tolist() == ["Plain Processing", "Unsupervised RA"]
    assert "Agreement difference, points [95 %]" in (place / "t/significance.md").read_text()
    tests = pd.read_csv(place / "t/significance.csv")
    assert tests[["p_model", "evaluation_r"]].values.tolist() == [["ra_unsupervised", "my_net"]]
    more = ["--data", place / "data", "--significance", place / "t/significance.csv"]
    call("report", "--save-dir", place / "r", *more, "--evaluations", *evaluations)
    page = (place / "r/report.html").read_text()
    assert "Points of agreement over plain" in page and "<th>agreement in %</th>" in page
    assert not re.search("top-1|accura", page, re.I)
    call("transfer-matrix", "--save-dir", place / "m", "--evaluations", *evaluations)
    for name in ("transfer", "table1"):
        assert len(pd.read_csv(place / f"m/{name}_dn.csv")) == 2


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """(folder, evaluations) of a processor that was trained on pairs, 1:2 and without labels."""
    place = tmp_path_factory.mktemp("paired")
    targets, inputs = write_pairs(place, 2)
    own, sizes = write_recognizer(place), ["--resize", "none", "--crop", 16]
    call("prepare", "--data", targets, "--inputs", inputs, *sizes, "--save-dir", place / "data")
    shared = ["--task", "paired", "--data", place / "data", "--input", inputs]
    call("train", *shared, "--mode", "plain", *TINY, "--save-dir", place / "plain")
    more = ["--recognizers", own, "--device", "cpu", "--save-dir"]
    model = ["--model-sr", place / "plain/processor.safetensors", "--data", place / "data"]
    call("evaluate", *model, *more, place / "plain")
    call("evaluate", "--model-sr", "none", *shared, *more, place / "none")
    return place, [place / name / "evaluation.csv" for name in ("none", "plain")]


def test_pairs_are_trained_and_evaluated(paired):
    place, evaluations = paired
    assert read_header(place / "plain/processor.safetensors")["task_settings"]["factor"] == 2
    for path in evaluations:
        tidy = pd.read_csv(path, keep_default_na=False)
        assert set(tidy.task) == {"paired"} and {"psnr", "agreement"} <= set(tidy.metric)
    assert tidy.n.max() == 4


def test_inputs_without_targets_have_agreement_and_no_quality(paired, tmp_path):
    place, _ = paired
    model = ["--model-sr", place / "plain/processor.safetensors", "--task", "paired"]
    data = ["--data", place / "noisy", "--resize", "none", "--crop", 16, "--no-labels"]
    for name, chosen in (("p", model), ("none", ["--model-sr", "none", "--task", "paired"])):
        more = ["--recognizers", place / "my_net.yaml", "--device", "cpu", "--save-dir"]
        input = ["--input", "none"] if name == "p" else []
        call("evaluate", *chosen, *input, *data, *more, tmp_path / name)
    none = pd.read_csv(tmp_path / "none/evaluation.csv").set_index("metric")
    assert none.value.agreement == 100 and not {"psnr", "ssim", "image_loss"} & set(none.index)
    assert Image.open(tmp_path / "p/strip.png").height * 3 == (
        Image.open(place / "plain/strip.png").height * 2
    )
    evaluations = [tmp_path / name / "evaluation.csv" for name in ("p", "none")]
    for command in ("table", "report"):
        call(command, "--save-dir", tmp_path / "t", "--evaluations", *evaluations)
    assert len(pd.read_csv(tmp_path / "t/paired.csv")) == 2
    assert not (tmp_path / "t/quality.csv").exists()


def test_analyses_that_need_labels_say_so(place, capsys):
    p = place / "plain/processor.safetensors"
    shared = ["--data", place / "data", "--plain", p, "--ra", p, "--save-dir", place / "out"]
    boundaries = ["boundaries", "--recognizers", place / "my_net.yaml", *shared]
    for command in (boundaries, ["black-box", "--command", "true {files}", *shared]):
        assert main([str(part) for part in command]) == 1
        assert "photos: no labels, which " in capsys.readouterr().err


def test_a_recognizer_that_is_stored_for_unlabelled_data_names_its_logits(tmp_path):
    own = load_user_recognizer(write_recognizer(tmp_path))
    header = {"kind": "recognizer", "arch": "mobilenet_v3_small", "classes": []}
    save_model(tmp_path / "r.safetensors", own, header)
    classifier = open_classifier(str(tmp_path / "r.safetensors"))
    assert list(classifier.classes) == [f"logit {number}" for number in range(7)]


def test_a_model_of_another_task_takes_inputs_without_targets(place, paired, tmp_path):
    data = ["--data", paired[0] / "noisy", "--resize", "none", "--crop", 16]
    more = ["--recognizers", place / "my_net.yaml", "--device", "cpu", "--save-dir", tmp_path]
    model = ["--model-sr", place / "plain/processor.safetensors", "--task", "paired"]
    call("evaluate", *model, *data, *more)
    assert set(pd.read_csv(tmp_path / "evaluation.csv").task) == {"paired"}


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ("data", [], "--input: needed to train"),
        ("data", ["--input", "PLACE/photos"], "prepared with inputs "),
        ("data", ["--input", "PLACE/noisy", "--factor", 4], "noisy are 1:2"),
        ("unpaired", ["--input", "PLACE/noisy"], "photos: prepared without inputs, not "),
        ("photos", ["--input", "PLACE/nowhere"], "nowhere: no such folder"),
    ],
)
def test_pairs_that_do_not_fit_are_told_in_one_line(paired, tmp_path, capsys, data, given, message):
    place = paired[0]
    sizes = ["--resize", "none", "--crop", 16]
    if data == "unpaired":
        call("prepare", "--data", place / "photos", *sizes, "--save-dir", place / data)
        capsys.readouterr()
    given = [str(part).replace("PLACE", str(place)) for part in given]
    command = ["train", "--task", "paired", "--mode", "plain", *TINY, "--save-dir", tmp_path]
    assert main([*map(str, [*command, "--data", place / data, *sizes]), *given]) != 0
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
