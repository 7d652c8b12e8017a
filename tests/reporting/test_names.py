"""Names that people read, and the order of rows."""

import pandas as pd
import pytest
import torchvision

from ra.reporting.names import model_names, p_model_order, recognizer_title, task_title
from ra.training.objectives import OBJECTIVES, RecognitionAware


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("resnet18", "ResNet-18"),
        ("shufflenet_v2_x1_0", "ShuffleNetV2"),
        ("shufflenet_v2_x0_5", "ShuffleNetV2-x0.5"),
        ("googlenet", "GoogLeNet"),
        ("densenet121", "DenseNet-121"),
        ("vgg16_bn", "VGG-16"),
        ("vgg16", "VGG-16 without BN"),
        ("mobilenet_v3_small", "MobileNetV3-Small"),
        ("efficientnet_b0", "EfficientNet-B0"),
        ("squeezenet1_1", "SqueezeNet-1.1"),
        ("wide_resnet50_2", "Wide ResNet-50-2"),
        ("resnet18+googlenet", "ResNet-18 + GoogLeNet"),
        ("my_net", "my_net"),
        ("resnet_of_mine", "resnet_of_mine"),
        ("none", "none"),
    ],
)
def test_recognizers_have_one_style(name, title):
    assert recognizer_title(name) == title


def test_no_two_networks_share_a_title():
    names = torchvision.models.list_models(torchvision.models)
    assert len({recognizer_title(name) for name in names}) == len(names)


def test_rows_follow_the_registry_and_unknown_names_come_last():
    names = ["mine", "perceptual", "ra_unsupervised", "no_processing", "ra", "plain", "clean"]
    ordered = sorted(names, key=p_model_order)
    assert ordered[:4] == ["clean", "no_processing", "plain", "ra"]
    assert ordered[4:] == ["ra_unsupervised", "perceptual", "mine"]


def test_an_objective_of_ones_own_has_its_own_title_or_name():
    @OBJECTIVES.register("hinge")
    class Hinge(RecognitionAware):
        title = "RA, hinge"

    @OBJECTIVES.register("untitled")
    class Untitled(RecognitionAware):
        pass

    rows = pd.DataFrame({"task": "my_task", "p_model": ["hinge", "untitled"]})
    try:
        titles = model_names(rows.assign(**{"lambda": 0.1, "training_r": "a"})).tolist()
        assert titles == ["RA, hinge", "untitled"]
    finally:
        for name in ("hinge", "untitled"):
            del OBJECTIVES._entries[name]
    assert task_title("my_task") == "my_task"


def test_a_lambda_is_named_where_its_task_has_several():
    rows = pd.DataFrame({"task": ["sr", "sr", "dn"], "p_model": "ra", "lambda": [0.1, 0.2, 1]})
    titles = model_names(rows.assign(training_r="resnet18")).tolist()
    expected = ["RA Processing, lambda 0.1", "RA Processing, lambda 0.2", "RA Processing"]
    assert titles == expected
