"""MLflow as people use it: nested runs, data sets, the model registry, and the real UI."""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from browser import chromium, needs_browser
from helpers import ROOT, write_evaluation
from mlflow_server import mlflow_server
from PIL import Image

from ra.cli import main
from ra.inference.process import load
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor
from ra.reporting.plots import write_heat_map
from ra.tracking import run as tracking

LAMBDAS = (0.0005, 0.01)
USE = (ROOT / "docs/use.md").read_text()
MODEL = "embedded-sr-ra-l0.0005-resnet18"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """(URI, folder of the model) of a store with two trainings and their evaluations."""
    folder = tmp_path_factory.mktemp("view")
    uri = tracking.default_uri(folder / "results")
    torch.manual_seed(0)
    processor = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(folder / "processor.safetensors", processor, {"kind": "processor", "task": "sr"})
    picture = folder / "accuracy.png"
    write_heat_map(picture, pd.DataFrame({"resnet18": [50.0, 90.0]}, ["top1", "top5"]), "sr ra")
    answers = folder / "images.csv"
    pd.DataFrame({"path": "a.png", "resnet18:top1": [0, 1] * 600}).to_csv(answers, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RA_DAG_ID", "20260101-120000-abcdef")
        patch.setattr(tracking, "_start_deliverer", lambda *_: None)
        for weight in LAMBDAS:
            name = f"RA sr {weight:g} resnet18 seed0"
            tags = {"task": "sr", "lambda": weight, "dataset": "embedded"}
            with tracking.start_run(name, "train", {"lambda": weight}, tags, uri) as run:
                run.log_dataset("embedded", "d" * 64, "/data", "training", images=4, classes=2)
                run.log_metrics({"image": weight}, step=1)
                if weight == LAMBDAS[0]:
                    file = folder / "processor.safetensors"
                    run.log_model(MODEL, [file], "a processor", {"task": "sr", "seed": 0})
            with tracking.start_run(
                f"evaluate {name}", "evaluate", {}, tags, uri, parent_run_id=run.run_id
            ) as evaluation:
                evaluation.log_artifact(picture)
                evaluation.log_table(answers)
                evaluation.log_headline(run.run_id, {"unseen_accuracy": 100 * weight})
        assert tracking.deliver(uri) == 0
    return uri, folder


@pytest.fixture(scope="module")
def client(store):
    from mlflow import MlflowClient

    return MlflowClient(store[0])


@pytest.fixture(scope="module")
def runs(client):
    experiment = client.get_experiment_by_name("ra").experiment_id
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def picture_of(client, run: str) -> str:
    """The path of the run's only picture, in full size."""
    paths = [one.path for one in client.list_artifacts(run, "images")]
    (found,) = [path for path in paths if path.endswith(".png")]
    return found


def test_an_evaluation_is_in_its_training(runs):
    training = runs["RA sr 0.0005 resnet18 seed0"]
    evaluation = runs["evaluate RA sr 0.0005 resnet18 seed0"]
    assert evaluation.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert "mlflow.parentRunId" not in training.data.tags and len(runs) == 4
    assert training.data.tags["ra.dag"] == "20260101-120000-abcdef"


def test_the_ui_opens_in_its_view_for_model_training(client):
    tags = client.get_experiment_by_name("ra").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_pictures_are_in_the_grid_and_answers_in_a_table(client, runs):
    run = runs["evaluate RA sr 0.0005 resnet18 seed0"].info.run_id
    assert picture_of(client, run).startswith("images/accuracy+step+0+")
    table = json.loads(Path(client.download_artifacts(run, "images.json")).read_text())
    assert table["columns"] == ["path", "resnet18:top1"] and len(table["data"]) == 1000


def test_a_training_carries_what_its_evaluation_found(runs):
    for weight in LAMBDAS:
        metrics = runs[f"RA sr {weight:g} resnet18 seed0"].data.metrics
        assert metrics["unseen_accuracy"] == 100 * weight


def test_data_is_recorded(runs):
    training = runs["RA sr 0.0005 resnet18 seed0"]
    (used,) = training.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("embedded", "d" * 36)
    assert json.loads(used.dataset.profile) == {"images": 4, "classes": 2}
    assert used.tags[0].value == "training"


def test_a_registered_processor_restores_images(client, store, runs, tmp_path, monkeypatch):
    import mlflow.pyfunc

    (version,) = client.search_model_versions(f"name = '{MODEL}'")
    assert version.run_id == runs["RA sr 0.0005 resnet18 seed0"].info.run_id
    assert version.tags["task"] == "sr" and version.description == "task sr, seed 0"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 9, 3), dtype=np.uint8)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    wanted = load(store[1] / "processor.safetensors").pixels(image[0])
    assert np.array_equal(model.predict(image)[0], wanted) and wanted.shape == (24, 36, 3)
    assert model.metadata.get_input_schema() and model.input_example.shape == (1, 8, 8, 3)

    # As the documentation has it: in the folder with results/, with no environment set.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(store[1])
    Image.fromarray(image[0]).save(tmp_path / "in.png")
    paths = [str(tmp_path / name) for name in ("in.png", "out.png")]
    assert main(["process", "--quiet", "--model", f"models:/{MODEL}/1", *paths]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), wanted)
    assert not (store[1] / "mlflow.db").exists()


def test_the_snippet_of_the_documentation_loads_a_registered_processor(store, monkeypatch):
    import mlflow

    (snippet,) = re.findall(r"```python\n(import mlflow\n.*?)```", USE, re.S)
    monkeypatch.chdir(store[1])
    before = mlflow.get_tracking_uri()
    try:
        exec(compile(snippet, "docs/use.md", "exec"), {})
    finally:
        mlflow.set_tracking_uri(before)


def test_nothing_that_is_registered_is_a_pickle(store):
    files = [p.name for p in (store[1] / "results/mlartifacts").rglob("model/**/*") if p.is_file()]
    assert "processor.safetensors" in files and "process.py" in files
    assert not [name for name in files if name.endswith((".pkl", ".pth", ".pt", ".pyc"))]


def test_a_results_folder_that_was_moved_has_its_pictures_and_models(store, tmp_path):
    from mlflow import MlflowClient

    shutil.copytree(store[1] / "results", tmp_path / "else where")
    left = (store[1] / "results").rename(store[1] / "gone")
    try:
        uri = f"sqlite:///{tmp_path}/else where/mlflow.db"
        tracking.prepare_store(uri)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("ra")
        assert experiment.artifact_location.startswith(tmp_path.as_uri())
        (picture,) = [
            client.download_artifacts(run.info.run_id, picture_of(client, run.info.run_id))
            for run in client.search_runs([experiment.experiment_id])
            if run.info.run_name == "evaluate RA sr 0.0005 resnet18 seed0"
        ]
        assert Image.open(picture).size == Image.open(store[1] / "accuracy.png").size
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
            assert (tracking.download_model(f"models:/{MODEL}/1")).is_dir()
    finally:
        left.rename(store[1] / "results")


def test_a_delivery_that_is_repeated_makes_no_second_version(client, store, runs):
    from ra.tracking.models import register

    run = runs["RA sr 0.0005 resnet18 seed0"].info.run_id
    files = [str(store[1] / "processor.safetensors")]
    event = {"name": MODEL, "files": files, "description": "a processor", "tags": {}}
    register(client, run, event)
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_the_best_processor_of_a_task_has_an_alias(client, store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)

    def best(**accuracies) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        paths = [
            write_evaluation(folder / name, name, {"r50": "01"}, evaluation_r="r50", value=value)
            for name, value in accuracies.items()
        ]
        seen = {"evaluation_r": "r18", "value": 99}  # by the recognizer that trained it
        paths.append(write_evaluation(folder / "seen", "ra", {"r18": "01"}, seed=1, **seen))
        for number, path in enumerate(paths):
            torch.manual_seed(number)
            network = build_processor("SRResNet", scale=4, channels=4, blocks=1)
            save_model(path.with_name("processor.safetensors"), network, {"kind": "processor"})
        if (folder / "ra_transformer").exists():
            (folder / "ra_transformer/transformer.safetensors").touch()
        words = ["--save-dir", folder / "tables", "--evaluations", *paths]
        assert main(["table", *map(str, words)]) == 0
        assert tracking.deliver(store[0]) == 0
        model = tracking.download_model("models:/d@best-sr") / "processor.safetensors"
        found = [p for p in paths if p.with_name(model.name).read_bytes() == model.read_bytes()]
        return found[0].parent.name

    assert best(plain=50, ra=60, ra_transformer=90) == "ra"
    assert best(plain=70, ra=60) == "plain"
    assert best(plain=50, ra=60) == "ra"
    versions = client.search_model_versions("name = 'd'")
    assert len(versions) == 2 and {version.tags["accuracy"] for version in versions} == {
        "60.00",
        "70.00",
    }


def test_a_model_that_is_not_there_is_one_line(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    assert main(["process", "--model", "models:/none/1", "x.png", str(tmp_path)]) == 1
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    where = [str(tmp_path / "x.png"), str(tmp_path / "out")]
    assert main(["process", "--model", "models:/none/1", *where]) == 1
    assert (
        "models:/none/1: could not be downloaded from" in capsys.readouterr().err.splitlines()[-1]
    )


def test_without_a_store_none_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("x.png")
    assert main(["process", "--model", "models:/none/1", "x.png", "out"]) == 1
    assert "mlflow.db: no such store" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@needs_browser
def test_the_ui_lists_runs_compares_lambdas_and_shows_the_matrix(store, client, runs, tmp_path):
    trainings = [runs[f"RA sr {weight:g} resnet18 seed0"].info for weight in LAMBDAS]
    experiment = trainings[0].experiment_id
    with mlflow_server(tmp_path, store[0]) as address, chromium() as browser:
        (page,) = re.findall(
            r"^ui: RUNS := http://[^/]*(.*)", (ROOT / "Makefile").read_text(), re.M
        )
        browser.open(address + page.replace("\\", ""))  # that `make ui` opens
        said = browser.wait_for_text("Model registry", *(info.run_name for info in trainings))
        assert "Playground" not in said  # it is in the view for prompts and agents

        chosen = {"runs": [info.run_id for info in trainings], "experiments": [experiment]}
        query = urllib.parse.urlencode({key: json.dumps(value) for key, value in chosen.items()})
        browser.open(f"{address}/#/compare-runs?{query}")
        said = browser.wait_for_text("Comparing 2 Runs", "Parameters", "lambda")
        assert all(info.run_name in said for info in trainings)
        assert "0.0005" in said and "0.01" in said

        evaluation = runs["evaluate RA sr 0.0005 resnet18 seed0"].info.run_id
        browser.open(
            f"{address}/#/experiments/{experiment}/runs/{evaluation}/artifacts/"
            + picture_of(client, evaluation)
        )
        width = Image.open(store[1] / "accuracy.png").width
        shown = "return [...document.images].some(i => i.src.startsWith('blob:')"
        browser.wait(f"{shown} && i.naturalWidth == {width})")
