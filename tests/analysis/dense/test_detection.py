"""Detectors: losses through a frozen one, training by the one loop, the commands end to end."""

import pandas as pd
import pytest
import torch
from ra.analysis.dense.compose import OBJECTS, compose
from ra.analysis.dense.detector import (
    DetectionAware,
    build_detector,
    detect,
    detection_loss,
    load_detector,
    targets_of,
)
from ra.analysis.dense.evaluate import precision_table
from ra.analysis.dense.voc import DetectionCrops, VocImages

from ra.analysis.command_settings import ComposeDetection
from ra.cli import main
from ra.data.degradations import build_task
from ra.data.splits import validation_keys
from ra.errors import UserError
from ra.models.checkpoints import read_header, save_model
from ra.models.processors import build_processor
from ra.models.recognizers import build_recognizer

SIDE = 64


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    out = tmp_path_factory.mktemp("tree")
    compose(ComposeDetection(save_dir=out, side=SIDE, train=8, val=4, seed=0))
    return out


def batch_of(tree, task="sr"):
    crops = DetectionCrops(
        VocImages(tree, ["VOC0000/train"], SIDE, sorted(OBJECTS)), build_task(task)
    )
    return crops.__getitems__(validation_keys(8, 4)[0]).to(torch.device("cpu"))


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return build_detector("tiny", sorted(OBJECTS), SIDE).eval().requires_grad_(False)


def test_a_frozen_detector_gives_losses_and_stays_as_it_is(tree, detector):
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    batch = batch_of(tree)
    images = batch.target.clone().requires_grad_(True)
    torch.manual_seed(1)
    loss = detection_loss(detector, images, batch.objects)
    loss.backward()
    assert loss > 0 and images.grad.abs().sum() > 0
    assert not any(module.training for module in detector.modules())
    for name, value in detector.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.manual_seed(1)
    assert detection_loss(detector, images, batch.objects) == loss, "drawn from torch's generator"


def test_images_without_objects_have_a_loss(tree, detector):
    batch = batch_of(tree)
    nothing = [{key: value[:0] for key, value in one.items()} for one in batch.objects]
    assert detection_loss(detector, batch.target, nothing).isfinite()


def test_difficult_objects_are_not_learned():
    objects = {"boxes": torch.rand(3, 4), "labels": torch.arange(3)}
    kept = targets_of([{**objects, "difficult": torch.tensor([False, True, False])}])
    assert kept[0]["labels"].tolist() == [0, 2] and len(kept[0]["boxes"]) == 2


def test_the_gradient_goes_through_the_detector_into_p_alone(tree, detector):
    batch = batch_of(tree)
    p = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    gradients = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        p.zero_grad()
        losses = DetectionAware(p, detector, weight).losses(batch)
        losses["total"].backward()
        gradients.append(p.block1[0].weight.grad.clone())
    assert not torch.allclose(*gradients)
    expected = losses["image"] + losses["recognition"]
    assert losses["total"].item() == pytest.approx(expected.item())
    assert all(value.grad is None for value in detector.parameters())


def test_every_kind_of_image_is_evaluated(tree, detector):
    batches = [batch_of(tree)]
    p = build_processor("SRResNet", scale=4, channels=4, blocks=1).eval()
    known = {"no_processing": None, "p": p}
    found, truth, shown = detect(detector, known, batches, 4, torch.device("cpu"), show=2)
    assert list(found) == ["clean", "no_processing", "p"]
    assert {len(one) for one in found.values()} == {len(truth)} == {4}
    assert {len(images) for images in shown.values()} == {2} and list(shown) == list(found)


def test_images_with_difficult_objects_only_have_no_map(tree, detector):
    batch = batch_of(tree)
    hard = [{**one, "difficult": torch.ones_like(one["difficult"])} for one in batch.objects]
    with pytest.raises(UserError, match="or only difficult ones"):
        detect(detector, {}, [batch._replace(objects=hard)], 4, torch.device("cpu"))


def test_a_stored_detector_answers_as_before(tree, detector, tmp_path):
    images = batch_of(tree).target
    save_model(tmp_path / "d.safetensors", detector, {"kind": "detector", "dataset": "x"})
    again = load_detector(tmp_path / "d.safetensors")
    for ours, theirs in zip(again(list(images)), detector(list(images)), strict=True):
        assert torch.equal(ours["boxes"], theirs["boxes"])
    assert again.header["classes"] == sorted(OBJECTS)


def test_detectors_of_torchvision_are_known_by_name():
    with pytest.raises(
        UserError, match="unknown detector 'fasterrcnn_resnet50'; nearest: fasterrcnn"
    ):
        build_detector("fasterrcnn_resnet50", ["a"], SIDE)
    with pytest.raises(UserError, match="unknown weights of resnet50 'V9'"):
        build_detector("fasterrcnn_resnet50_fpn", ["a"], SIDE, "V9")
    large = build_detector("fasterrcnn_mobilenet_v3_large_320_fpn", ["a", "b"], SIDE)
    assert large.roi_heads.box_predictor.cls_score.out_features == 3


def test_differences_are_to_plain_of_the_same_images(tree):
    truth = [{"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([1])}] * 3
    truth = [{**one, "difficult": torch.tensor([False])} for one in truth]
    right = [{"boxes": t["boxes"], "labels": t["labels"], "scores": torch.ones(1)} for t in truth]
    wrong = [{**one, "boxes": one["boxes"] + 50} for one in right]
    who = {"task": "sr", "evaluation_r": "d", "seed": 0, "lambda": 0, "training_r": "none"}
    named = {
        "clean": {**who, "p_model": "clean", "trained_on": "none"},
        "a": {**who, "p_model": "plain", "trained_on": "one"},
        "b": {**who, "p_model": "ra", "trained_on": "one"},
        "c": {**who, "p_model": "ra", "trained_on": "two"},
    }
    found = {"clean": right, "a": wrong, "b": right, "c": right}
    table = precision_table(found, truth, named)
    half = table[table.metric == "map50"].set_index(["p_model", "trained_on"])
    assert half.value["plain", "one"] == 0 and half.difference["ra", "one"] == 100
    assert half.difference[["clean", "plain"]].isna().all() and pd.isna(
        half.difference["ra", "two"]
    )
    assert set(table.n) == {3}


def run(*words) -> int:
    return main([str(word) for word in (*words, "--device", "cpu", "--threads", 1)])


@pytest.fixture(scope="module")
def trained(tree, prepared, tmp_path_factory):
    """A detector, processors through it and through a classifier, and their evaluation."""
    place = tmp_path_factory.mktemp("trained")
    data = ["--data", tree, "--sets"]
    short = ["--epochs", 1, "--batch-size", 4]
    words = ["train-detector", *data, "VOC0000/train", "--name", "composed", "--side", SIDE, *short]
    assert run(*words, "--save-dir", place) == 0
    detector = ["--detector", place / "detector.safetensors"]
    network = ["--channels", 4, "--blocks", 1, "--task", "sr", "--factor", 2]
    for mode in ("plain", "ra"):
        words = ["train-through-detector", *data, "VOC0000/train", *detector, "--mode", mode]
        assert run(*words, *network, *short, "--save-dir", place / mode) == 0
    for objective, r in (("plain", "none"), ("ra", "resnet18")):
        header = {"kind": "processor", "dataset": "tiny", "task": "sr", "objective": objective}
        header |= {"lambda": 0.001, "recognizer": r, "seed": 0, "task_settings": {"factor": 2}}
        p = build_processor("SRResNet", scale=2, channels=4, blocks=1)
        save_model(place / f"{objective}.safetensors", p, header)
    models = [place / name for name in ("plain.safetensors", "ra.safetensors")]
    models += [place / mode / "processor.safetensors" for mode in ("plain", "ra")]
    words = ["evaluate-detection", *data, "VOC0000/train", *detector, "--models", *models]
    assert run(*words, "--save-dir", place / "evaluated") == 0
    r = build_recognizer("shufflenet_v2_x0_5", 3)
    header = {"kind": "recognizer", "arch": "shufflenet_v2_x0_5", "classes": ["a", "b", "c"]}
    save_model(place / "r.safetensors", r, header)
    for mode in ("plain", "ra"):
        words = [
            "evaluate",
            "--data",
            prepared,
            "--model-sr",
            place / mode / "processor.safetensors",
        ]
        assert run(*words, "--recognizers", place / "r.safetensors") == 0
    return place


def test_p_through_a_detector_says_what_it_is(trained):
    header = read_header(trained / "ra/processor.safetensors")
    assert (header["objective"], header["recognizer"]) == ("ra", "detector-tiny")
    assert (header["dataset"], header["lambda"]) == ("composed", 0.001)
    plain = read_header(trained / "plain/processor.safetensors")
    assert (plain["objective"], plain["recognizer"], plain["lambda"]) == ("plain", "none", 0)
    history = pd.read_csv(trained / "ra/training.csv")
    assert history.recognition[0] > 0 and "recognition" not in pd.read_csv(
        trained / "plain/training.csv"
    )


def test_processors_of_both_kinds_are_evaluated(trained):
    table = pd.read_csv(trained / "evaluated/detection.csv", keep_default_na=False)
    assert len(table) == 2 * 6
    assert set(table.p_model) == {"clean", "no_processing", "plain", "ra"}
    assert set(table.trained_on) == {"none", "tiny", "composed"}
    of_ra = table[table.p_model == "ra"]
    assert (of_ra.difference != "").all() and (table[table.p_model == "plain"].p == "").all()
    assert (trained / "evaluated/detections.png").stat().st_size > 10000


def test_the_table_has_both_directions(trained):
    evaluations = [trained / mode / "evaluation.csv" for mode in ("plain", "ra")]
    words = ["detection-table", "--detections", trained / "evaluated/detection.csv"]
    words += ["--evaluations", *evaluations, "--save-dir", trained / "table"]
    assert main([str(word) for word in words]) == 0
    text = (trained / "table/detection.md").read_text()
    assert "RA (ResNet-18) on tiny" in text and "RA (detector-tiny) on composed" in text
    table = pd.read_csv(trained / "table/by_classifiers.csv")
    assert set(table.evaluation_r) == {"shufflenet_v2_x0_5"} and set(table.n) == {12}
    assert (trained / "table/detection.png").stat().st_size > 10000


def test_training_through_a_detector_is_the_same_each_time(trained, tree, tmp_path):
    words = ["train-through-detector", "--data", tree, "--sets", "VOC0000/train", "--mode", "ra"]
    words += ["--detector", trained / "detector.safetensors", "--task", "sr", "--factor", 2]
    words += ["--channels", 4, "--blocks", 1, "--epochs", 1, "--batch-size", 4]
    assert run(*words, "--save-dir", tmp_path) == 0
    ours, theirs = (p / "training.csv" for p in (tmp_path, trained / "ra"))
    columns = ["total", "image", "recognition"]
    assert pd.read_csv(ours)[columns].equals(pd.read_csv(theirs)[columns])


def test_other_modes_and_other_tasks_are_refused(trained, tree, tmp_path, capsys):
    words = ["train-through-detector", "--data", tree, "--sets", "VOC0000/train", "--save-dir"]
    words += [tmp_path, "--detector", trained / "detector.safetensors", "--mode"]
    assert run(*words, "ra_unsupervised") == 1
    assert "plain or ra, not ra_unsupervised" in capsys.readouterr().err
    other = tmp_path / "dn.safetensors"
    header = {"kind": "processor", "dataset": "tiny", "task": "dn", "objective": "plain"}
    header |= {"lambda": 0.0, "recognizer": "none", "seed": 0, "task_settings": {}}
    save_model(other, build_processor("SRResNet", scale=1, channels=4, blocks=1), header)
    words = ["evaluate-detection", "--data", tree, "--sets", "VOC0000/val", "--save-dir", tmp_path]
    words += ["--detector", trained / "detector.safetensors", "--models"]
    assert run(*words, trained / "plain/processor.safetensors", other) == 1
    assert "dn.safetensors: trained for task dn, but" in capsys.readouterr().err
