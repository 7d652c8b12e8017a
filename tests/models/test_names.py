"""Names of recognizers: each stands for one, and fits into a path."""

import pytest

from ra.errors import UserError
from ra.models.names import check_files, distinct


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    for name in ("a b", "r+s", "none", "a*", "{x}", "net", "net.v2", "squeezenet1_1", "Netz-ü"):
        (tmp_path / f"my/{name}.yaml").touch()


def test_names_are_those_of_the_libraries_or_of_the_files(place):
    given = ["timm:resnet10t", "my/net.yaml", "my/net.v2.yaml", "my/net.yaml"]
    assert check_files(given) == {
        "timm:resnet10t": "timm:resnet10t",
        "net": "my/net.yaml",
        "net.v2": "my/net.v2.yaml",
    }


@pytest.mark.parametrize("name", ["a b", "r+s", "none", "a*", "{x}", "Netz-ü"])
def test_a_name_that_no_path_can_hold_is_refused(place, name):
    with pytest.raises(UserError) as caught:
        check_files([f"my/{name}.yaml"])
    assert str(caught.value).startswith(f"my/{name}.yaml: results are kept under the file's name")


def test_a_mistyped_file_is_named(place):
    with pytest.raises(UserError, match=r"my/nett.yaml: no such recognizer file"):
        check_files(["resnet18", "my/nett.yaml"])


def test_two_recognizers_of_one_name_are_both_named(place):
    both = "squeezenet1_1 and my/squeezenet1_1.yaml are both called squeezenet1_1"
    with pytest.raises(UserError, match=both):
        check_files(["squeezenet1_1", "my/squeezenet1_1.yaml"])
    with pytest.raises(UserError, match=r"a/r.safetensors and b/r.safetensors are both called x"):
        distinct([("x", "a/r.safetensors"), ("x", "b/r.safetensors")])
    assert distinct([("x", "a/x.yaml"), ("x", "./a/x.yaml")]) == {"x": "a/x.yaml"}
