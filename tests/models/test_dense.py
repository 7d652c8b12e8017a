"""Detectors and segmenters: one socket with classifiers, from training to the table of kinds."""

import pandas as pd
import pytest
import torch

from ra.cli import main
from ra.data.batches import validation_keys
from ra.data.degradations import build_task
from ra.data.prepare import prepare
from ra.data.scenes import OBJECTS, compose
from ra.data.splits import Crops, open_split
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_recognizer, read_header, save_model
from ra.models.classifiers import Classifier
from ra.models.detectors import targets_of
from ra.models.processors import build_processor
from ra.models.recognizers import Several, freeze
from ra.training.objectives import OBJECTIVES

SIDE = 64
TINY = ("tiny_classifier", "tiny_detector", "tiny_segmenter")
COUNTS = {"train": 8, "val": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes")
    sets = compose(place / "images", SIDE, COUNTS)
    prepare(place / "images", place / "data", name="scenes", resize=None, crop=SIDE, sets=sets)
    return place / "data"


@pytest.fixture
def batch(data):
    crops = Crops(open_split(data, "train"), build_task("sr"))
    return crops.__getitems__(validation_keys(8, 4)[0]).to(torch.device("cpu"))


def fixed(arch):
    torch.manual_seed(0)
    return freeze(build_recognizer(arch, len(OBJECTS), input_size=SIDE))


@pytest.fixture(params=TINY)
def recognizer(request):
    return fixed(request.param)


def test_a_frozen_recognizer_gives_a_loss_and_stays_as_it_is(batch, recognizer):
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    images = batch.target.clone().requires_grad_(True)
    torch.manual_seed(1)
    loss = recognizer.loss(images, batch)
    loss.backward()
    assert loss > 0 and images.grad.abs().sum() > 0
    assert not any(module.training for module in recognizer.modules())
    for name, value in recognizer.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.manual_seed(1)
    assert recognizer.loss(images, batch) == loss, "drawn from torch's generator"


def test_the_gradient_goes_through_it_into_p_alone(batch, recognizer):
    p = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    gradients = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        p.zero_grad()
        losses = OBJECTIVES.get("ra")(p, recognizer, weight).losses(batch)
        losses["total"].backward()
        gradients.append(p.block1[0].weight.grad.clone())
    assert not torch.allclose(*gradients)
    assert losses["total"].item() == pytest.approx((losses["image"] + losses["recognition"]).item())
    assert all(value.grad is None for value in recognizer.parameters())


def test_its_own_answer_to_the_clean_image_takes_the_place_of_labels(batch, recognizer):
    p = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    unlabelled = batch._replace(label=batch.label * 0 - 1, mask=None, objects=None)
    torch.manual_seed(1)
    pseudo = OBJECTIVES.get("ra_pseudo")(p, recognizer, 1.0).losses(unlabelled)["recognition"]
    torch.manual_seed(1)
    own = recognizer.labelled(batch)
    assert pseudo == recognizer.loss(p(batch.input), own) and pseudo.isfinite()


def test_without_labels_probabilities_are_compared_which_a_detector_has_not(batch):
    p = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    objective = OBJECTIVES.get("ra_unsupervised")
    segmenter = fixed("tiny_segmenter")
    found = objective(p, segmenter, 1.0).losses(batch)["recognition"]
    wanted = segmenter(p(batch.input)).softmax(1) - segmenter(batch.target).softmax(1)
    assert torch.allclose(found, wanted.square().mean())
    with pytest.raises(UserError, match="a detector has no answers to compare; train with ra or"):
        objective(p, fixed("tiny_detector"), 1.0).losses(batch)


def test_several_kinds_train_by_the_mean_of_their_losses(batch):
    members = [fixed(arch) for arch in TINY]
    torch.manual_seed(1)
    together = Several(members).loss(batch.target, batch)
    torch.manual_seed(1)
    assert together == torch.stack([one.loss(batch.target, batch) for one in members]).mean()


@pytest.mark.parametrize(
    ("arch", "needed"), [("tiny_detector", "objects"), ("tiny_segmenter", "masks")]
)
def test_images_without_what_a_kind_learns_from_are_refused(batch, arch, needed):
    bare = batch._replace(mask=None, objects=None)
    recognizer = fixed(arch)
    for call in (recognizer.loss, lambda images, b: recognizer.compare(recognizer(images), b)):
        with pytest.raises(UserError, match=f"needs images with {needed}"):
            call(bare.target, bare)


def test_images_without_objects_have_a_loss(batch):
    nothing = [{key: value[:0] for key, value in one.items()} for one in batch.objects]
    loss = fixed("tiny_detector").loss(batch.target, batch._replace(objects=nothing))
    assert loss.isfinite()


def test_difficult_objects_are_not_learned():
    objects = {"boxes": torch.rand(3, 4), "labels": torch.arange(3)}
    kept = targets_of([{**objects, "difficult": torch.tensor([False, True, False])}])
    assert kept[0]["labels"].tolist() == [0, 2] and len(kept[0]["boxes"]) == 2


def test_void_pixels_are_neither_learned_nor_compared(batch):
    segmenter = fixed("tiny_segmenter")
    void = batch._replace(mask=batch.mask.clone())
    void.mask[:, :32] = 255
    other = void._replace(mask=void.mask.clone())
    answers = segmenter(batch.target)
    same, either = segmenter.compare(answers, void)["pixels"].unbind(dim=1)
    assert (either.sum(dim=1) <= 2 * 32 * SIDE).all() and (same <= either).all()
    shown = answers.clone()
    shown[:, :, :32] = torch.rand_like(shown[:, :, :32])
    assert torch.equal(segmenter.compare(shown, other)["pixels"][:, 0], same)
    assert segmenter.loss(batch.target, void) != segmenter.loss(batch.target, batch)


def test_a_stored_recognizer_answers_as_before(batch, recognizer, tmp_path):
    save_model(tmp_path / "r.safetensors", recognizer, {"kind": "recognizer"})
    again = freeze(load_recognizer(tmp_path / "r.safetensors"))
    ours, theirs = again(batch.target), recognizer(batch.target)
    if recognizer.kind == "detector":
        ours, theirs = (torch.cat([one["boxes"] for one in found]) for found in (ours, theirs))
    assert torch.equal(ours, theirs) and again.kind == recognizer.kind and again.trained


def test_those_of_torchvision_are_known_by_name():
    with pytest.raises(UserError, match="unknown weights of resnet50 'V9'"):
        build_recognizer("fasterrcnn_resnet50_fpn", 1, "V9")
    with pytest.raises(UserError, match="unknown weights of mobilenet_v3_large 'V9'"):
        build_recognizer("lraspp_mobilenet_v3_large", 1, "V9")
    large = build_recognizer("fasterrcnn_mobilenet_v3_large_320_fpn", 2, input_size=64)
    assert large.network.roi_heads.box_predictor.cls_score.out_features == 3
    for arch in ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"):
        segmenter = freeze(build_recognizer(arch, 2))
        assert segmenter(torch.rand(1, 3, 64, 64)).shape == (1, 3, 64, 64)
        assert not segmenter.trained


def run(*words) -> int:
    return main([str(word) for word in (*words, "--device", "cpu", "--threads", 1)])


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A recognizer of each kind, and processors through none, one and all, evaluated by all."""
    place = tmp_path_factory.mktemp("trained")
    short = ["--data", data, "--epochs", 1, "--batch-size", 4]
    files = []
    for arch in TINY:
        assert run("train-recognizer", *short, "--arch", arch, "--save-dir", place / arch) == 0
        files.append(place / arch / "recognizer.safetensors")
    network = ["--channels", 4, "--blocks", 1, "--task", "sr", "--factor", 2]
    ways = {"plain": ["plain", "none"], "one": ["ra", TINY[1], files[1]]}
    ways["all"] = ["ra", "+".join(TINY), *files]
    for name, (mode, arch, *given) in ways.items():
        words = ["train", *short, *network, "--mode", mode, "--l", 0.001, "--arch", arch]
        words += ["--recognizer", *given] if given else []
        assert run(*words, "--save-dir", place / name) == 0
        model = place / name / "processor.safetensors"
        assert run("evaluate", "--data", data, "--model-sr", model, "--recognizers", *files) == 0
    words = ["evaluate", "--data", data, "--model-sr", "clean", "--save-dir", place / "clean"]
    assert run(*words, "--recognizers", *files) == 0
    return place


def test_a_recognizer_knows_its_score_on_clean_images(trained):
    for arch, metric in zip(TINY, ("top1", "map50", "miou"), strict=True):
        header = read_header(trained / arch / "recognizer.safetensors")
        assert header["classes"] == list(OBJECTS) and 0 <= header[f"clean_{metric}"] <= 100
        clean = pd.read_csv(trained / "clean/evaluation.csv", keep_default_na=False)
        row = clean[(clean.evaluation_r == arch) & (clean.metric == metric)].iloc[0]
        assert row.value == pytest.approx(header[f"clean_{metric}"]) and row.p_model == "clean"


def test_p_through_several_kinds_says_what_it_is(trained):
    header = read_header(trained / "all/processor.safetensors")
    assert (header["objective"], header["recognizer"]) == ("ra", "+".join(TINY))
    assert (header["dataset"], header["lambda"]) == ("scenes", 0.001)
    assert pd.read_csv(trained / "all/training.csv").recognition[0] > 0


def test_one_evaluation_has_every_kind(trained):
    table = pd.read_csv(trained / "one/evaluation.csv", keep_default_na=False)
    found = set(zip(table.evaluation_r, table.metric, strict=True))
    assert {(TINY[0], "top1"), (TINY[1], "map50"), (TINY[1], "map"), (TINY[2], "miou")} <= found
    images = pd.read_csv(trained / "one/images.csv")
    miou = table[table.metric == "miou"].iloc[0]
    assert 100 * images[f"{TINY[2]}:miou"].mean() == pytest.approx(float(miou.value))
    assert float(miou.low) <= float(miou.value) <= float(miou.high)
    assert (trained / "one/answers.png").stat().st_size > 10000


def test_the_table_of_kinds_compares_with_plain_of_the_same_images(trained):
    files = [trained / name / "evaluation.csv" for name in ("clean", "plain", "one", "all")]
    words = ["kinds", "--group", "scenes", *files, "--save-dir", trained / "kinds"]
    assert main([str(word) for word in words]) == 0
    table = pd.read_csv(trained / "kinds/kinds.csv", keep_default_na=False)
    assert set(table.measure) == {"top-1", "mAP@0.5", "mIoU"}
    assert (table[table.p_model == "plain"].difference == "").all()
    assert (table[table.p_model != "plain"].difference != "").all()
    text = (trained / "kinds/kinds.md").read_text()
    assert "RA Processing (Tiny Faster R-CNN) on scenes" in text and "Clean Images" in text
    assert (trained / "kinds/kinds.png").stat().st_size > 5000


def test_the_tables_have_a_column_for_each_kind(trained):
    files = [trained / name / "evaluation.csv" for name in ("clean", "plain", "one")]
    words = ["table", "--significance", "--evaluations", *files, "--save-dir", trained / "tables"]
    assert main([str(word) for word in words]) == 0
    table = pd.read_csv(trained / "tables/sr.csv")
    assert table.shape == (3, 4)
    tests = pd.read_csv(trained / "tables/significance.csv")
    assert set(tests.evaluation_r) == set(TINY) and tests.n.eq(6).all()


def test_only_classifiers_are_by_name_what_they_are(trained, data, capsys):
    assert run("evaluate", "--data", data, "--model-sr", "clean", "--save-dir", trained / "x",
               "--recognizers", "tiny_detector") == 1  # fmt: skip
    assert "tiny_detector: only its backbone has pretrained weights" in capsys.readouterr().err
    assert isinstance(fixed("tiny_classifier"), Classifier)
