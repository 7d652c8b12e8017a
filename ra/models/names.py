"""Names of recognizers in paths and tables: a library's name, or that of the user's YAML file."""

import re
from collections.abc import Iterable
from pathlib import Path

from ra.errors import UserError


def is_own(recognizer: Path | str) -> bool:
    """Whether ``recognizer`` is a user's YAML file."""
    return Path(recognizer).suffix in (".yaml", ".yml")


def short_name(recognizer: str) -> str:
    """The name of ``recognizer`` in paths and tables."""
    return Path(recognizer).stem if is_own(recognizer) else recognizer


def members_of(recognizer: str) -> list[str]:
    """The recognizers that + joins in a name."""
    return [recognizer] if Path(recognizer).is_file() else recognizer.split("+")


def check_files(recognizers: Iterable[str]) -> dict[str, str]:
    """Short name -> recognizer, for every one of ``recognizers`` once.

    Raises:
        UserError: a user's file is not there, its name would not fit into a path or into a list
            of names joined by +, or two recognizers have one name.
    """
    for one in filter(is_own, recognizers):
        name = short_name(one)
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name == "none":
            raise UserError(
                f"{one}: results are kept under the file's name; rename it, with letters, digits "
                "and _ . - only, and not 'none'"
            )
        if not Path(one).is_file():
            raise UserError(f"{one}: no such recognizer file")
    return distinct((short_name(one), one) for one in recognizers)


def distinct(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Pairs (short name, recognizer) as a dictionary; UserError where two have one name."""
    known: dict[str, str] = {}
    for name, one in named:
        if Path(known.setdefault(name, one)) != Path(one):
            raise UserError(
                f"{known[name]} and {one} are both called {name}, and each needs a column of its "
                "own; rename one, or leave it out"
            )
    return known
