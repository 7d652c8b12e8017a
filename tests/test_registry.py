"""Registries and plugins: a user's own classes, their settings, and what is wrong with a file."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field
from torch import nn

from ra.errors import UserError
from ra.registry import Registry, load_plugins


@pytest.fixture
def things():
    return Registry("thing", given=("scale",))


def test_the_fields_of_a_dataclass_are_settings(things):
    @things.register("salt")
    @dataclass(frozen=True)
    class Salt:
        share: Annotated[float, Field(gt=0, description="share of pixels")] = 0.1
        scale = 1

    assert things.check("salt", {}) == {"share": 0.1}
    assert things.build("salt", {"share": "0.25"}) == Salt(0.25)
    with pytest.raises(UserError, match=r"--share: 0 should be greater than 0 \(share of pixels\)"):
        things.check("salt", {"share": 0}, "--")
    with pytest.raises(UserError, match="--shar: thing salt has no such setting; it has share"):
        things.check("salt", {"shar": 1}, "--")


def test_the_parameters_of_a_constructor_or_function_are_settings(things):
    @things.register("net")
    class Net(nn.Module):
        def __init__(self, scale: int, width: int = 8, deep: bool = False) -> None:
            super().__init__()
            self.made = scale, width, deep

    @things.register("function")
    def function(power: float):
        return power

    assert things.build("net", {"width": "3", "deep": "true"}, scale=2).made == (2, 3, True)
    assert things.build("function", {"power": 2}) == 2
    with pytest.raises(UserError, match="power: missing"):
        things.build("function")


def test_an_alias_is_another_spelling_of_one_name(things):
    things.register("whole", "whol")(dict)
    assert things.canonical("whol") == "whole" and list(things) == ["whole"] and "whol" in things
    with pytest.raises(UserError, match="unknown thing 'hole'; nearest: whole, whol"):
        things.get("hole")


def plugin(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


TASK = """
from dataclasses import dataclass
from ra.data.degradations import TASKS

@TASKS.register("{name}")
@dataclass(frozen=True)
class Task:
    scale = 1
"""


def test_a_name_taken_twice_names_both_files(tmp_path):
    one = plugin(tmp_path, "one.py", TASK.format(name="twice_taken"))
    two = plugin(tmp_path, "two.py", TASK.format(name="twice_taken"))
    load_plugins([one, one])
    with pytest.raises(UserError) as caught:
        load_plugins([two])
    said = str(caught.value)
    assert "task 'twice_taken' is registered twice" in said and one in said and two in said


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError: No module named"),
        ("x = 1\nx.y\n", "line 2: AttributeError"),
        ("def f(:\n", "line 1: SyntaxError"),
    ],
)
def test_a_fault_in_a_plugin_is_one_line_with_its_place(tmp_path, text, line):
    file = plugin(tmp_path, "faulty.py", text)
    with pytest.raises(UserError) as caught:
        load_plugins([file])
    assert str(caught.value).startswith(f"plugin {file}, {line}") and "\n" not in str(caught.value)


def test_a_plugin_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"plugin .*none\.py: no such file"):
        load_plugins([str(tmp_path / "none.py")])
    with pytest.raises(UserError, match="plugin my.missing: ModuleNotFoundError"):
        load_plugins(["my.missing"])


def test_a_module_below_the_working_folder_is_a_plugin_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_for_test").mkdir()
    plugin(tmp_path / "mine_for_test", "tasks.py", TASK.format(name="from_module"))
    load_plugins(["mine_for_test.tasks"])
    from ra.data.degradations import TASKS

    assert TASKS.plugin("from_module") == "mine_for_test.tasks" and TASKS.plugin("sr") is None
