"""Stores for the tests of the tracking."""

from __future__ import annotations

import shutil

import pytest

from ra.tracking import run as tracking


@pytest.fixture(autouse=True)
def no_store_from_outside(monkeypatch, tmp_path):
    monkeypatch.delenv("RA_DAG_ID", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_deliverer(monkeypatch):
    """Journals are delivered in this process, where MLflow is imported already."""
    monkeypatch.setattr(tracking, "_start_deliverer", lambda *_: None)


@pytest.fixture
def uri(tmp_path):
    """A store that is not there yet."""
    return tracking.default_uri(tmp_path / "results")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tracking.prepare_store(tracking.default_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def ready(uri, tmp_path, empty_store):
    """A store that is there, for what is not about making it (saves a second each)."""
    (tmp_path / "results").mkdir()
    shutil.copyfile(empty_store, tmp_path / "results/mlflow.db")
    return uri
