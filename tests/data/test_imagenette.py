"""Imagenette: an extracted folder is used; a failed download names where to put one."""

import pytest
from helpers import write_images

from ra.data import imagenette
from ra.errors import UserError


def test_an_extracted_folder_is_taken_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.Imagenette._download", None)
    write_images(tmp_path / imagenette.FOLDER, classes=("n01440764", "n02102040"), train=1, val=1)
    assert imagenette.fetch(tmp_path) == tmp_path / imagenette.FOLDER


def test_without_network_the_place_of_the_folder_is_named(tmp_path, monkeypatch):
    def no_network(*_):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.Imagenette._download", no_network)
    with pytest.raises(UserError, match=f"no route to host.*at {tmp_path / imagenette.FOLDER}"):
        imagenette.fetch(tmp_path)
