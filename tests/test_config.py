"""The configuration: defaults of the schema, and one line for every mistake."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import write_images, write_photographs

from ra.config import load_config
from ra.errors import UserError

ROOT = Path(__file__).parent.parent
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def change(**keys):
    return load_config({**DEFAULT, **keys})


def test_the_default_experiment_is_valid():
    config = load_config(DEFAULT)
    assert config.dataset == "embedded" and config.train_recognizers == ("resnet18",)
    assert set(config.tasks) == {"sr", "dn", "jpeg"} and len(config.evaluate_recognizers) >= 4


def test_defaults_are_the_papers():
    given = {"recognizers": {"train": ["r"], "evaluate": ["r"]}, "objectives": {"plain": 0}}
    config = load_config(given)
    schedule = config.processor_schedule
    assert (schedule["epochs"], schedule["batch_size"], schedule["lr"]) == (6, 20, 1e-4)
    assert (schedule["lr_steps"], schedule["lr_gamma"]) == ((4, 5), 0.1)
    assert (config.images["resize"], config.images["crop"]) == (256, 224)
    assert config.tasks == {"sr": {"factor": 4}, "dn": {"sigma": 0.1}, "jpeg": {"quality": 10}}


def test_numbers_without_a_point_are_numbers():
    config = change(objectives={"ra": "1e-3"}, tasks={"sr": {}})
    assert config.objectives == {"ra": {"sr": (0.001,)}}


def test_a_task_may_have_its_own_lambdas():
    lambdas = {"dn": "2e-4", "jpeg": [1e-3, 1e-2]}
    found = change(objectives={"plain": 0, "ra": {"lambda": lambdas}}).objectives
    assert found["ra"] == {"sr": (0.001,), "dn": (0.0002,), "jpeg": (0.001, 0.01)}
    assert found["plain"]["dn"] == (0,)


def test_a_folder_gives_the_data_set_its_name():
    assert change(data="/somewhere/my photos").dataset == "my-photos"


def test_single_recognizers_may_differ():
    overrides = {"resnet18": {"epochs": 2}}
    config = change(recognizers={**DEFAULT["recognizers"], "overrides": overrides})
    assert config.recognizer_schedules["resnet18"]["epochs"] == 2


def test_overrides_of_recognizers_that_are_not_used_wait_for_their_use():
    recognizers = {"train": ["resnet18"], "evaluate": ["resnet18", "timm:resnet10t"]}
    recognizers["overrides"] = {"densenet121": {"epochs": 3}}
    assert set(change(recognizers=recognizers).recognizer_schedules) == {
        "resnet18",
        "timm:resnet10t",
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dat": "x"}, "config key unknown key 'dat'; nearest: data"),
        ({"images": {"crops": 3}}, "config key images.unknown key 'crops'; nearest: crop"),
        ({"images": {"crop": "big"}}, "images.crop: 'big' should be a valid integer"),
        (
            {"images": {"crop": 34, "resize": 40}},
            "34 px is not divisible by the scale of task sr, 4",
        ),
        ({"images": {"crop": 64, "resize": 40}}, "images.resize: 40 px is below images.crop"),
        ({"tasks": {"srr": {}}}, "unknown task 'srr'; nearest: sr"),
        ({"tasks": {"sr": {"factor": 5}}}, "factor: 5 is not a product of twos and threes"),
        ({"tasks": {"sr": {"factor": 3}}}, "32 px is not divisible by the scale of task sr, 3"),
        ({"tasks": {"dn": {"sigma": [0.2, 0.02]}}}, r"tasks.dn.sigma: \[0.2, 0.02\] is no range"),
        ({"tasks": {"dn": {"sigma": [0.2, 2]}}}, "tasks.dn.sigma.1: 2 should be less than"),
        ({"tasks": {"sr": {"factor": [2, 4]}}}, "tasks.sr.factor: .* should be a valid integer"),
        ({"tasks": {"chain": {"steps": [{"srr": {}}]}}}, "chain.steps: step 1: unknown task 'srr'"),
        ({"tasks": {"dn": {"sigma": 2}}}, "tasks.dn.sigma: 2 should be less than or equal to 1"),
        ({"objectives": {"rb": 1}}, "unknown objective 'rb'; nearest: ra"),
        ({"objectives": {"ra": -1}}, "objectives.ra: -1 should be greater than or equal to 0"),
        ({"objectives": {"plain": 1}}, "objectives.plain: lambda must be 0"),
        ({"objectives": {}}, "objectives: "),
        (
            {"objectives": {"ra": {"lambda": {"srr": 1}}}},
            "objectives.ra.lambda: unknown task 'srr'; nearest: sr",
        ),
        ({"objectives": {"ra": {"lambda": {"sr": -1}}}}, "objectives.ra.lambda.sr: -1 should be"),
        ({"objectives": {"ra": {"lambda": "x"}}}, "objectives.ra.lambda: 'x' should be a valid"),
        ({"processor": {"arch": "SRResnet"}}, "unknown architecture 'SRResnet'"),
        ({"seeds": []}, "seeds: "),
        ({"runtime": {"device": "gpu"}}, "runtime.device: 'gpu' should match"),
        ({"recognizers": {"train": ["resnet18"]}}, "recognizers.evaluate: missing"),
        (
            {"recognizers": {"train": ["a"], "evaluate": ["a"], "overrides": {"a": {"lr": 0}}}},
            "recognizers.overrides.a.lr: 0 should be greater than 0",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(keys, message):
    with pytest.raises(UserError, match=message) as caught:
        change(**keys)
    assert "\n" not in str(caught.value)


def test_labels_that_are_missing_are_told_before_any_job(tmp_path):
    root = write_photographs(tmp_path / "photos", 2)
    own = tmp_path / "own.yaml"
    own.touch()
    recognizers = {"train": [str(own)], "evaluate": [str(own)]}
    keys = {"data": str(root), "recognizers": recognizers, "objectives": {"ra": 1}}
    for keys["data"] in (str(root), str(write_images(tmp_path / "classes", train=1, val=1))):
        with pytest.raises(UserError) as error:
            change(**keys, images={"labels": False})
        message = "no labels, which objective ra needs; without: published, plain, ra_unsupervised"
        assert str(error.value).startswith(f"config key data: {keys['data']}: {message}")
    assert change(**keys)
    shutil.rmtree(tmp_path / "classes/val/b")
    assert change(**keys)
    keys |= {"recognizers": {"train": ["resnet18"], "evaluate": ["resnet18"]}}
    with pytest.raises(UserError, match="in train/ but not in val/: b; add or remove them"):
        change(**keys)
    keys |= {"data": str(root), "objectives": {"ra_unsupervised": 1}}
    with pytest.raises(UserError, match="no labels, so no recognizer can be trained"):
        change(**keys)


def test_without_tasks_the_experiment_has_the_papers():
    assert list(change(tasks=None).tasks) == ["sr", "dn", "jpeg"]


def test_settings_of_a_chain_are_filled_in_and_its_scale_is_the_product():
    steps = ["blur", {"sr": {"factor": 2}}, {"dn": {"sigma": ["2e-2", 0.1]}}, {"sr": None}]
    (chain,) = change(
        images={"crop": 32, "resize": 40}, tasks={"chain": {"steps": steps}}
    ).tasks.values()
    assert chain["steps"] == [
        {"blur": {"sigma": 1.5}},
        {"sr": {"factor": 2}},
        {"dn": {"sigma": [0.02, 0.1]}},
        {"sr": {"factor": 4}},
    ]
    with pytest.raises(UserError, match="20 px is not divisible by the scale of task chain, 8"):
        change(images={"crop": 20, "resize": 40}, tasks={"chain": {"steps": steps}})


def test_analyses_do_without_a_task_that_the_experiment_lacks():
    assert change(tasks={"sr": {}}, analysis={"lambdas": {"tasks": ["dn"]}})


def test_words_of_a_black_box_stay_as_they_are():
    box = {"command": ["my-tool", "--top", "1", "{files}"], "key_prefix": ""}
    held = change(analysis={"black_box": box}).analysis["black_box"]
    assert list(map(str, held["command"])) == box["command"] and held["key_prefix"] == ""


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"lambdas": {"tasks": ["dnn"]}}, "analysis.lambdas.tasks: unknown task 'dnn'; nearest"),
        ({"categories": {"recognizer": "resnet19"}}, "unknown recognizer 'resnet19'; nearest"),
        ({"extras": {"ensemble": ["vgg11"]}}, "analysis.extras.ensemble: unknown recognizer"),
        ({"extras": {"processors": {"sr": {"arch": "SRDense"}}}}, "unknown architecture"),
        ({"lambdas": {"objectives": {"raa": 1}}}, "unknown objective 'raa'; nearest: ra"),
        ({"black_box": {"recognizer": "vgg11"}}, "analysis.black_box.recognizer: unknown"),
        ({"black_box": {"url": "https://x/y"}}, "analysis.black_box.url: needs label_path"),
        ({"boundaries": {"radius": 0}}, "config key analysis.boundaries.radius"),
        ({"categorys": {}}, "config key analysis.unknown key 'categorys'; nearest: categories"),
    ],
)
def test_analyses_ask_for_what_the_experiment_has(part, message):
    with pytest.raises(UserError) as error:
        change(analysis=part)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_files_of_recognizers_are_checked_at_the_door(tmp_path, monkeypatch):
    """Before Snakemake sees any file: what an earlier run made stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet18.yaml").touch()
    for name, message in (
        ("nett.yaml", "nett.yaml: no such recognizer"),
        ("resnet18.yaml", "both"),
    ):
        recognizers = {"train": ["resnet18"], "evaluate": ["resnet18", name]}
        with pytest.raises(UserError, match=message):
            load_config(DEFAULT | {"recognizers": recognizers})
