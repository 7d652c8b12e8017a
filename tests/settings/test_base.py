"""Settings: defaults, conversion, and one line that names the setting for whatever is wrong."""

import pytest

from ra.errors import UserError
from ra.settings.base import Float, Int, Settings, checked, setting


class Inner(Settings):
    rate: Float = setting(0.5, "images a second", gt=0)
    steps: tuple[Int, ...] = setting((1, 2), "epochs")


class Outer(Settings):
    count: Int = setting(3, "how many", ge=1)
    needed: str = setting(..., "a name")
    inner: Inner = Inner()


def test_text_becomes_what_the_field_holds():
    made = checked(Outer, {"needed": "x", "count": "7", "inner": {"rate": "1e-3"}})
    assert (made.count, made.inner.rate, made.inner.steps) == (7, 0.001, (1, 2))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "key needed: missing (a name)"),
        (
            {"needed": "x", "count": 0},
            "key count: 0 should be greater than or equal to 1 (how many)",
        ),
        ({"needed": "x", "count": True}, "key count: True is no number (how many)"),
        ({"needed": "x", "coutn": 1}, "key unknown key 'coutn'; nearest: count"),
        (
            {"needed": "x", "inner": {"rate": float("nan")}},
            "key inner.rate: nan should be a finite number (images a second)",
        ),
        ({"needed": "x", "inner": {"rat": 1}}, "key inner.unknown key 'rat'; nearest: rate"),
        ({"needed": "x", "inner": {"steps": [1, "b"]}}, "key inner.steps.1: 'b' should be a valid"),
    ],
)
def test_a_fault_is_one_line_that_names_the_setting(given, line):
    with pytest.raises(UserError) as caught:
        checked(Outer, given, "key ")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_settings_are_fixed_once_made():
    with pytest.raises(ValueError, match="frozen"):
        Inner().rate = 2
