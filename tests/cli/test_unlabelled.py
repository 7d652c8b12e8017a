"""From a folder of photographs without labels to a table of agreement, by commands."""

import pandas as pd
import pytest
import torch
import yaml
from helpers import write_photographs

from ra.cli import main
from ra.models.recognizers import build_recognizer

TINY = ["--channels", "4", "--blocks", "1", "--epochs", "1", "--device", "cpu"]


def call(*arguments):
    assert main([str(part) for part in arguments]) == 0


def own_recognizer(folder, logits=7):
    """The YAML file of a recognizer whose classes nothing names."""
    torch.manual_seed(0)
    torch.save(
        build_recognizer("mobilenet_v3_small", logits).classifier.state_dict(), folder / "w.pth"
    )
    content = {"arch": "mobilenet_v3_small", "num_classes": logits, "state_dict": "w.pth"}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return folder / "mine.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data prepared without labels, and evaluations of plain and unsupervised."""
    place = tmp_path_factory.mktemp("unlabelled")
    root, own = write_photographs(place / "photos", 24), own_recognizer(place)
    call("prepare", "--data", root, "--resize", 20, "--crop", 16, "--save-dir", place / "data")
    shared = ["--data", place / "data", "--task", "dn", *TINY]
    for mode in ("plain", "ra_unsupervised"):
        out = place / mode
        r = ["--arch", "mine", "--recognizer", own] if mode != "plain" else []
        call("train", *shared, "--mode", mode, "--epochs", 3, *r, "--save-dir", out)
        for workers in (0, 1):
            more = ["--workers", workers, "--save-dir", out / f"w{workers}", "--device", "cpu"]
            model = ["--model-sr", out / "processor.safetensors", "--recognizers", own]
            call("evaluate", "--data", place / "data", *model, *more)
    return place


def test_agreement_is_with_the_answer_to_the_clean_image(place):
    images = pd.read_csv(place / "plain/w0/images.csv")
    assert (images.label == -1).all() and len(images)
    assert images["mine:agreement"].tolist() == [
        int(a == b) for a, b in zip(images["mine:prediction"], images["mine:clean"], strict=True)
    ]
    tidy = pd.read_csv(place / "plain/w0/evaluation.csv").set_index("metric")
    assert tidy.value.agreement == pytest.approx(100 * images["mine:agreement"].mean())
    assert tidy.low.agreement < tidy.value.agreement + 1e-9 <= tidy.high.agreement + 2e-9
    assert tidy.value.agreement5 >= tidy.value.agreement and "top1" not in tidy.index


def test_any_number_of_workers_gives_the_same_numbers(place):
    for mode in ("plain", "ra_unsupervised"):
        one, two = (place / mode / f"w{n}/evaluation.csv" for n in (0, 1))
        assert one.read_bytes() == two.read_bytes()


def test_tables_and_report_are_of_agreement(place):
    evaluations = [place / mode / "w0/evaluation.csv" for mode in ("plain", "ra_unsupervised")]
    call("table", "--significance", "--save-dir", place / "t", "--evaluations", *evaluations)
    table = pd.read_csv(place / "t/dn.csv")
    assert table["P Model/Evaluation on R"].tolist() == ["Plain Processing", "Unsupervised RA"]
    tests = pd.read_csv(place / "t/significance.csv")
    assert tests[["p_model", "evaluation_r"]].values.tolist() == [["ra_unsupervised", "mine"]]
    call(
        "report", "--save-dir", place / "r", "--data", place / "data", "--evaluations", *evaluations
    )
