"""Gradient facts of the objectives."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import write_images

from ra.data.batches import TrainingKeys
from ra.data.degradations import build_task
from ra.data.prepare import prepare
from ra.data.splits import Batch, Crops, open_split
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.processors import build_processor
from ra.models.recognizers import freeze
from ra.training.objectives import OBJECTIVES, RecognizerTraining, canonical_mode


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Batch(
        torch.rand(4, 3, 32, 32),
        torch.rand(4, 3, 32, 32),
        torch.tensor([0, 1, 2, 0]),
        torch.arange(4),
    )


@pytest.fixture
def objective(recognizer):
    def build(mode, weight):
        torch.manual_seed(2)
        networks = {"processor": build_processor("SRResNet", 1, channels=4, blocks=1)}
        if OBJECTIVES.get(mode).needs_transformer:
            networks["transformer"] = build_processor("pix2pix", 1, channels=2, blocks=1)
        return OBJECTIVES.get(mode)(recognizer=recognizer, weight=weight, **networks)

    return build


def gradients(objective, batch, module="processor"):
    objective.losses(batch)["total"].backward()
    return [p.grad.clone() for p in objective.modules[module].parameters()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_ra_with_lambda_0_has_the_gradients_of_plain_bit_for_bit(objective, batch):
    plain = gradients(objective("plain", 0.0), batch)
    assert same(plain, gradients(objective("ra", 0.0), batch))
    assert not same(plain, gradients(objective("ra", 1.0), batch))


def test_the_ra_loss_is_mse_plus_lambda_times_cross_entropy(objective, batch, recognizer):
    built = objective("ra", 0.5)
    output = built.modules["processor"](batch.input)
    wanted = F.mse_loss(output, batch.target) + 0.5 * F.cross_entropy(
        recognizer(output), batch.label
    )
    assert torch.allclose(built.losses(batch)["total"], wanted)


def test_with_a_transformer_no_recognition_gradient_reaches_p(objective, batch):
    plain = gradients(objective("plain", 0.0), batch)
    with_transformer = objective("ra_transformer", 100.0)
    assert same(plain, gradients(with_transformer, batch))
    assert any(p.grad.abs().sum() > 0 for p in with_transformer.modules["transformer"].parameters())


def test_the_transformer_minimises_lambda_times_cross_entropy_alone(objective, batch, recognizer):
    built = objective("ra_transformer", 0.01)
    ours = gradients(built, batch, "transformer")
    transformer = copy.deepcopy(built.modules["transformer"])
    transformer.zero_grad()
    read = recognizer(transformer(built.modules["processor"](batch.input).detach()))
    (0.01 * F.cross_entropy(read, batch.label)).backward()
    wanted = [p.grad for p in transformer.parameters()]
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(ours, wanted, strict=True))


def test_unsupervised_never_reads_labels(objective, batch):
    class Unreadable:
        def __getattr__(self, name):
            raise AssertionError("a label was read")

    loss = objective("ra_unsupervised", 10.0).losses(batch._replace(label=Unreadable()))
    assert loss["recognition"] > 0


def test_the_unsupervised_loss_vanishes_where_r_answers_as_for_the_target(objective, batch):
    built = objective("ra_unsupervised", 10.0)
    built.modules["processor"] = torch.nn.Identity()
    assert built.losses(batch._replace(input=batch.target))["total"] == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Training crops that are whole images."""
    place = tmp_path_factory.mktemp("whole")
    folder = write_images(place / "images", size=(32, 32))
    prepare(folder, place / "data", name="tiny", resize=None, crop=32)
    return Crops(open_split(place / "data", "train"), build_task("dn"))


def test_whole_images_are_answered_once(objective, whole, recognizer):
    cpu, asked = torch.device("cpu"), []
    recognizer.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    once, each = objective("ra_unsupervised", 1.0), objective("ra_unsupervised", 1.0)
    once.begin(whole, 3, cpu, "fp32")
    assert sum(asked) == 2 * len(whole)
    for keys in TrainingKeys(len(whole), 7, 3, seed=0):
        batch = whole.__getitems__(keys).to(cpu)
        asked.clear()
        found = once.losses(batch)["recognition"]
        assert asked == [len(keys)]  # P's output alone
        assert found.item() == pytest.approx(each.losses(batch)["recognition"].item(), rel=1e-4)


@pytest.mark.parametrize("epochs", [1, 2])
def test_few_epochs_ask_for_no_answers_before(objective, whole, epochs):
    built = objective("ra_unsupervised", 1.0)
    built.begin(whole, epochs, torch.device("cpu"), "fp32")
    assert built.wanted is None


def test_random_crops_are_answered_at_each_step(objective, prepared):
    built = objective("ra_unsupervised", 1.0)
    crops = Crops(open_split(prepared, "train"), build_task("dn"))
    built.begin(crops, 10, torch.device("cpu"), "fp32")
    assert built.wanted is None


def test_the_perceptual_loss_pulls_each_image_as_strongly_as_the_cross_entropy(objective, batch):
    built = objective("perceptual", 1.0)
    output = built.modules["processor"](batch.input)
    losses = (
        built.recognition(output, batch),
        F.cross_entropy(built.recognizer(output), batch.label),
    )
    ours, entropy = (
        torch.autograd.grad(loss, output, retain_graph=True)[0].flatten(1) for loss in losses
    )
    assert torch.allclose(ours.norm(dim=1), entropy.norm(dim=1), rtol=1e-4)
    assert not torch.allclose(ours, entropy, atol=1e-3 * entropy.abs().max())


def test_the_perceptual_loss_vanishes_where_r_sees_the_target(objective, batch):
    built = objective("perceptual", 1.0)
    output = batch.target.clone().requires_grad_()
    assert built.recognition(output, batch) == 0
    assert objective("perceptual", 1.0).losses(batch)["recognition"] > 0


FREE = ["plain", "ra_unsupervised", "ra_pseudo", "ra_transformer_unsupervised"]


def test_label_free_objectives_use_no_label(objective, batch):
    free = [name for name in OBJECTIVES if not OBJECTIVES.get(name).needs_labels]
    assert free == ["published", *FREE]  # which trains nothing
    unlabelled = batch._replace(label=torch.full_like(batch.label, -1))
    for name in FREE:
        losses = [objective(name, 1.0).losses(one)["total"] for one in (batch, unlabelled)]
        assert losses[0] == losses[1]


def test_pseudo_labels_are_the_answers_to_the_clean_images(objective, batch):
    built = objective("ra_pseudo", 1.0)
    own = built.recognizer(batch.target).argmax(dim=1)
    expected = objective("ra", 1.0).losses(batch._replace(label=own))["recognition"]
    assert torch.isclose(built.losses(batch)["recognition"], expected)


def test_an_unsupervised_transformer_draws_the_answers_together(objective, batch):
    built = objective("ra_transformer_unsupervised", 1.0)
    networks = built.modules
    seen = networks["transformer"](networks["processor"](batch.input).detach())
    answers = [built.recognizer(images).softmax(dim=1) for images in (seen, batch.target)]
    losses = built.losses(batch)
    assert torch.isclose(losses["recognition"], F.mse_loss(*answers))
    losses["recognition"].backward()
    assert all(p.grad is None for p in networks["processor"].parameters())
    assert all(p.grad is not None for p in networks["transformer"].parameters())


@pytest.mark.parametrize("mode", ["ra", "ra_transformer", "ra_unsupervised", "perceptual"])
def test_r_never_changes(objective, batch, recognizer, mode):
    before = copy.deepcopy(recognizer.state_dict())
    built = objective(mode, 1.0)
    recognizer.train()
    gradients(built, batch)
    assert not recognizer.training
    assert all(p.grad is None for p in recognizer.parameters())
    assert all(torch.equal(before[k], v) for k, v in recognizer.state_dict().items())


def test_batch_norm_of_a_frozen_r_never_moves(batch):
    frozen = freeze(build_recognizer("resnet18", 3)).train()
    before = frozen.classifier.bn1.running_mean.clone()
    frozen(batch.target)
    assert torch.equal(before, frozen.classifier.bn1.running_mean)


def test_classification_trains_r_on_the_clean_images(batch):
    trained = build_recognizer("squeezenet1_1", 3).eval()
    losses = RecognizerTraining(trained).losses(batch)
    assert torch.allclose(losses["total"], F.cross_entropy(trained(batch.target), batch.label))


def test_r_learns_the_outputs_of_a_fixed_p(batch):
    trained = build_recognizer("squeezenet1_1", 3).eval()
    processor = build_processor("SRResNet", 1, channels=4, blocks=1).eval()
    total = RecognizerTraining(trained, processor).losses(batch)["total"]
    assert torch.allclose(total, F.cross_entropy(trained(processor(batch.input)), batch.label))
    total.backward()
    assert all(p.grad is None for p in processor.parameters())


@pytest.fixture
def together(batch):
    """SR4IR with a recognizer that has batch norm, as the loop would hold it."""
    torch.manual_seed(2)
    trained = build_recognizer("resnet18", 3)
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    return OBJECTIVES.get("sr4ir")(processor, trained, 0.5)


def test_sr4ir_pulls_p_towards_the_target_and_its_features(together, batch):
    (first, _), r = together.phases(), together.recognizer.eval()
    losses = first.losses(batch)
    output = together.modules["processor"](batch.input)
    distance = (r.with_features(output)[1] - r.with_features(batch.target)[1]).abs().mean()
    wanted = F.mse_loss(output, batch.target) + 0.5 * distance
    assert first.modules == ("processor",) and losses["features"] > 0
    assert torch.allclose(losses["total"], wanted)


def test_sr4ir_trains_r_on_processed_clean_and_mixed_images(together, batch, monkeypatch):
    _, second = together.phases()
    seen = []
    together.recognizer.eval().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    total = second.losses(batch)["total"]
    output = together.modules["processor"](batch.input)
    assert second.modules == ("recognizer",) and torch.allclose(seen[0][:4], output)
    assert torch.equal(seen[0][4:8], batch.target)
    mixed = seen[0][8:]
    from_target, from_output = (mixed == batch.target), (mixed == seen[0][:4])
    assert (from_target | from_output).all() and from_target.any() and from_output.any()
    patches = from_target.all(dim=1)[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert torch.equal(from_target.all(dim=1), patches)  # whole patches of a grid of 4 x 4
    each = [F.cross_entropy(together.recognizer(part), batch.label) for part in seen[0].split(4)]
    assert torch.allclose(total, sum(each), rtol=1e-4)
    total.backward()
    assert all(p.grad is None for p in together.modules["processor"].parameters())


def test_modes_have_one_name_each():
    assert canonical_mode("ra", 0) == ("plain", 0)
    assert canonical_mode("ra_transform", 0.1) == canonical_mode("ra_transformer", 0.1)
    assert canonical_mode("ra_unsupervised", None) == ("ra_unsupervised", 10)
    assert canonical_mode("plain", 3) == ("plain", 0)
    with pytest.raises(UserError, match="lambda is -1"):
        canonical_mode("ra", -1)
    with pytest.raises(UserError, match="unknown objective 'ra_transfomer'; nearest: ra_transform"):
        canonical_mode("ra_transfomer", 1)
