"""What a job's run is called and says of itself in MLflow."""

import pytest
import torch

from ra.jobs import record
from ra.settings.shared import Schedule


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("sr", "ra", 1e-3, "resnet18", 0), "RA sr 0.001 resnet18 seed0"),
        (("dn", "plain", 0, "none", 2), "Plain dn seed2"),
        (("none", "clean", 0, "none", 0), "Clean Images seed0"),
        (("jpeg", "no_processing", 0, "none", 0), "No Processing jpeg seed0"),
    ],
)
def test_names_lead_with_what_differs(given, name):
    assert record.run_name(*given) == name


@pytest.mark.parametrize("kind", ["step", "cosine"])
def test_a_run_has_no_parameter_that_does_not_apply_and_a_description(monkeypatch, kind):
    found = {}
    monkeypatch.setattr(record.tracking, "start_run", lambda **given: found.update(given))
    identity = {"dataset": "d", "task": "sr", "objective": "ra", "lambda": 0.5, "seed": 1}
    settings = {**Schedule(lr_schedule=kind).model_dump(), **identity, "recognizer": "resnet18"}
    record.start_run("train", {**settings, "name": "n"}, torch.device("cpu"))
    both = {"lr_steps", "lr_gamma"}
    assert found["params"].keys() & both == (both if kind == "step" else set())
    assert found["params"]["lr"] == 1e-4 and found["name"] == "n"
    assert found["tags"]["mlflow.note.content"] == (
        "Training: Super-resolution, RA Processing, lambda 0.5, training recognizer ResNet-18, "
        "data d, seed 1"
    )
