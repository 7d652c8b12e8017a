"""Recognizers: names, normalisation, choice of logits, and weights from the local cache."""

import os

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import save_file

from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_recognizer, save_model
from ra.models.classes import load_class_index
from ra.models.classifiers import Classifier, Ensemble
from ra.models.fixed import thaw
from ra.models.recognizers import freeze


def test_images_are_normalised_with_imagenets_mean_and_deviation():
    recognizer = Classifier(torch.nn.Identity(), 3)
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert torch.allclose(recognizer(image), torch.zeros(1, 3, 1, 1), atol=1e-6)
    assert torch.allclose(
        recognizer(image + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)),
        torch.ones(1, 3, 1, 1),
        atol=1e-5,
    )


def test_the_gradient_flows_through_the_normalisation():
    image = torch.rand(1, 3, 2, 2, requires_grad=True)
    Classifier(torch.nn.Identity(), 3)(image).sum().backward()
    assert torch.allclose(image.grad[0, 0], torch.full((2, 2), 1 / 0.229))


def test_logits_are_chosen_by_class():
    chosen = Classifier(torch.nn.Flatten(), 3, (0, 0, 0), (1, 1, 1), class_index=[2, 0])
    assert chosen(torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)).tolist() == [[3, 1]]


def test_images_are_resized_to_the_size_a_recognizer_wants():
    assert Classifier(torch.nn.Identity(), 3, input_size=8)(torch.rand(1, 3, 4, 6)).shape[2:] == (
        8,
        8,
    )


@pytest.mark.parametrize("arch", ["shufflenet_v2_x1_0", "googlenet", "timm:resnet10t"])
def test_any_library_classifier_by_name(arch):
    recognizer = build_recognizer(arch, 5).eval()
    assert recognizer(torch.rand(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("resnet81", "unknown recognizer 'resnet81'; nearest: resnet18"),
        ("timm:resnet10x", "unknown timm recognizer 'resnet10x'; nearest: resnet10t"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(arch, message):
    with pytest.raises(UserError, match=message):
        build_recognizer(arch, 3)


def test_pretrained_weights_come_from_the_local_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    stored = torchvision.models.shufflenet_v2_x0_5()
    url = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url
    cache = tmp_path / "hub/checkpoints"
    cache.mkdir(parents=True)
    torch.save(stored.state_dict(), cache / url.rpartition("/")[2])
    recognizer = build_recognizer("shufflenet_v2_x0_5", 2, "IMAGENET1K_V1")
    assert recognizer.logits == 1000
    assert torch.equal(recognizer.classifier.fc.weight, stored.fc.weight)


def test_absent_weights_name_the_file_and_its_place(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        UserError, match=f"put the file at {tmp_path}/hub/checkpoints/resnet18-.*pth"
    ):
        build_recognizer("resnet18", 2, "IMAGENET1K_V1")


def test_wnids_are_looked_up_not_assumed():
    assert load_class_index(["n03888257", "n01440764"], None) == [701, 0]  # parachute, tench


def test_a_mapping_file_names_the_logits(tmp_path):
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump({"cat": 281, "dog": 207}))
    assert load_class_index(["dog", "cat"], tmp_path / "classes.yaml") == [207, 281]
    with pytest.raises(UserError, match=r'class folders \["cow"\] are not in .*classes.yaml'):
        load_class_index(["cow"], tmp_path / "classes.yaml")
    with pytest.raises(UserError, match=r"are not in ImageNet's wnids; give --classes FILE"):
        load_class_index(["cow"], None)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty TORCH_HOME on a machine without network."""

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def cached(cache, weights):
    return cache / weights.url.rpartition("/")[2]


def test_a_frozen_recognizer_stays_as_it_is():
    recognizer = freeze(build_recognizer("shufflenet_v2_x0_5", 3))
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.nn.Sequential(recognizer).train()(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert not any(module.training for module in recognizer.modules())
    assert all(p.grad is None and not p.requires_grad for p in recognizer.parameters())
    assert all(torch.equal(value, before[n]) for n, value in recognizer.state_dict().items())


def test_a_name_only_timm_knows_needs_no_prefix():
    assert build_recognizer("resnet10t", 4).header["logits"] == 4
    with pytest.raises(UserError, match="unknown timm recognizer 'resnet10t.c4_in1k'; nearest"):
        build_recognizer("resnet10t.c4_in1k", 3)


def test_the_main_one_of_several_outputs_is_taken():
    inception = torchvision.models.inception_v3(num_classes=3, init_weights=False)
    recognizer = Classifier(inception, 3).train()
    assert recognizer(torch.rand(2, 3, 299, 299)).shape == (2, 3)


def test_a_transformer_is_built_for_its_input_size():
    recognizer = build_recognizer("vit_b_32", 3, input_size=64)
    assert recognizer(torch.rand(1, 3, 40, 40)).shape == (1, 3)
    assert build_recognizer("alexnet", 3).input_size == 224


def test_a_recognizer_with_an_input_size_comes_back_with_it(tmp_path):
    recognizer = build_recognizer("squeezenet1_1", 3, input_size=64).eval()
    save_model(tmp_path / "r.safetensors", recognizer, {"kind": "recognizer"})
    again = load_recognizer(tmp_path / "r.safetensors").eval()
    images = torch.rand(1, 3, 40, 40)
    assert again.input_size == 64
    assert torch.equal(again(images), recognizer(images))


def test_googlenets_own_normalisation_is_kept(cache, tmp_path):
    weights = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
    stored = torchvision.models.googlenet(init_weights=False, transform_input=True).eval()
    torch.save(stored.state_dict(), cached(cache, weights))
    recognizer = build_recognizer("googlenet", 2, "IMAGENET1K_V1").eval()
    images = torch.rand(1, 3, 64, 64)
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    wanted = stored((images - mean) / std)
    assert torch.allclose(recognizer(images), wanted, rtol=1e-4, atol=1e-5)
    save_model(tmp_path / "r.safetensors", recognizer, {"kind": "recognizer"})
    again = load_recognizer(tmp_path / "r.safetensors").eval()
    assert torch.equal(again(images), recognizer(images))


def test_a_damaged_cached_file_is_named(cache):
    path = cached(cache, torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=f"{path}: damaged weights .*; delete the file"):
        build_recognizer("squeezenet1_1", 2, "IMAGENET1K_V1")


def test_a_hostile_cached_file_is_not_executed(cache, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    path = cached(cache, torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1)
    torch.save(Hostile(), path)
    with pytest.raises(UserError, match="damaged weights"):
        build_recognizer("squeezenet1_1", 2, "IMAGENET1K_V1")
    assert not (tmp_path / "executed").exists()


def test_timms_weights_may_lie_beside_torchvisions(cache):
    with pytest.raises(UserError, match=f"put the file at {cache}/resnet10t.c3_in1k.safetensors"):
        build_recognizer("timm:resnet10t", 2, "DEFAULT")
    stored = timm.create_model("resnet10t")
    save_file(stored.state_dict(), cache / "resnet10t.c3_in1k.safetensors")
    recognizer = build_recognizer("timm:resnet10t", 2, "DEFAULT")
    assert recognizer.logits == 1000
    assert torch.equal(recognizer.classifier.fc.weight, stored.fc.weight)


def test_unknown_weights_are_answered_with_the_known():
    with pytest.raises(UserError, match="unknown weights of vgg16 'IMAGENET1K_V7'; nearest"):
        build_recognizer("vgg16", 2, "IMAGENET1K_V7")
    with pytest.raises(UserError, match="unknown weights of vgg16 'IMAGENET1K_FEATURES'"):
        build_recognizer("vgg16", 2, "IMAGENET1K_FEATURES")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 5], "there is no logit 5; the recognizer has 5"),
        ([1, 1], "two classes share one logit"),
    ],
)
def test_logits_that_cannot_be_chosen_are_named(index, message):
    with pytest.raises(UserError, match=message):
        Classifier(torch.nn.Identity(), 5).select(index)


def test_the_thousand_wnids_are_torchvisions_logits():
    wnids = timm.data.ImageNetInfo().label_names()
    assert load_class_index(sorted(wnids), None) == list(range(1000))
    names = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    table = torchvision.datasets.Imagenette._WNID_TO_CLASS
    for wnid, logit in zip(table, load_class_index(list(table), None), strict=True):
        assert names[logit] in table[wnid]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "cat\ndog\n"),
        ("c.json", '["cat", "dog"]'),
        ("c.yaml", "classes: [cat, dog]"),
        ("d.yaml", "classes: {dog: 1, cat: 0}"),
    ],
)
def test_a_mapping_file_may_list_the_names(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert load_class_index(["dog", "cat"], tmp_path / name) == [1, 0]


@pytest.mark.parametrize("text", ["3", "{cat: [1]}", "cat: dog"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match="c.yaml: not a mapping from folder names to logits"):
        load_class_index(["cat"], tmp_path / "c.yaml")


def test_wnids_do_not_name_other_than_a_thousand_logits():
    with pytest.raises(
        UserError, match="the recognizer has 21841 logits, which ImageNet's wnids do not name"
    ):
        load_class_index(["n01440764"], None, 21841)


@pytest.mark.parametrize(
    ("arch", "channels"), [("resnet18", 512), ("squeezenet1_1", 512), ("timm:resnet10t", 512)]
)
def test_features_are_what_the_last_layer_reads(arch, channels):
    recognizer = freeze(build_recognizer(arch, 3))
    images = torch.rand(2, 3, 64, 64)
    logits, features = recognizer.with_features(images)
    assert torch.equal(logits, recognizer(images))
    assert features.shape[0] == 2 and features.shape[1] % channels == 0
    if arch == "resnet18":
        assert torch.allclose(logits, recognizer.classifier.fc(features))
    assert not any(module._forward_pre_hooks for module in recognizer.modules())


def test_a_program_without_layers_has_no_features():
    with pytest.raises(UserError, match="a program without accessible layers"):
        Classifier(torch.nn.Flatten(), 3).with_features(torch.rand(1, 3, 8, 8))


def test_an_ensemble_answers_with_the_mean_of_its_members_probabilities():
    members = [freeze(build_recognizer(a, 3)) for a in ("squeezenet1_1", "shufflenet_v2_x0_5")]
    ensemble = freeze(Ensemble(members))
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    wanted = sum(member(images).softmax(dim=1) for member in members) / 2
    assert torch.allclose(ensemble(images).softmax(dim=1), wanted, atol=1e-6)
    assert torch.allclose(ensemble(images).exp(), wanted, atol=1e-6)
    logits, features = ensemble.with_features(images)
    assert torch.allclose(logits.exp(), wanted, atol=1e-6)
    shapes = [member.with_features(images)[1].shape[1] for member in members]
    assert features.shape[1] == sum(shapes)
    logits.sum().backward()
    assert not any(p.requires_grad for p in ensemble.parameters()) and images.grad.abs().sum() > 0


def test_a_recognizer_that_is_trained_again_moves_and_an_ensemble_cannot():
    frozen = freeze(build_recognizer("squeezenet1_1", 3))
    thawed = thaw(frozen, "squeezenet1_1").train()
    assert thawed.training and all(p.requires_grad for p in thawed.parameters())
    with pytest.raises(UserError, match=r"a\+b: a program or an ensemble, which cannot be trained"):
        thaw(Ensemble([thawed]), "a+b")
