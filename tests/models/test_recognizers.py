"""R: names, normalisation, choice of logits, and weights from the local cache."""

import pytest
import torch
import torchvision
import yaml

from ra.errors import UserError
from ra.models.recognizers import Recognizer, build_recognizer, load_class_index


def test_images_are_normalised_with_imagenets_mean_and_deviation():
    recognizer = Recognizer(torch.nn.Identity(), 3)
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert torch.allclose(recognizer(image), torch.zeros(1, 3, 1, 1), atol=1e-6)
    assert torch.allclose(
        recognizer(image + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)),
        torch.ones(1, 3, 1, 1),
        atol=1e-5,
    )


def test_the_gradient_flows_through_the_normalisation():
    image = torch.rand(1, 3, 2, 2, requires_grad=True)
    Recognizer(torch.nn.Identity(), 3)(image).sum().backward()
    assert torch.allclose(image.grad[0, 0], torch.full((2, 2), 1 / 0.229))


def test_logits_are_chosen_by_class():
    chosen = Recognizer(torch.nn.Flatten(), 3, (0, 0, 0), (1, 1, 1), class_index=[2, 0])
    assert chosen(torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)).tolist() == [[3, 1]]


def test_images_are_resized_for_an_r_with_a_size_of_its_own():
    assert Recognizer(torch.nn.Identity(), 3, input_size=8)(torch.rand(1, 3, 4, 6)).shape[2:] == (
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
