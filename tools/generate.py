"""Writes docs/cli.md from the command line's own parser and docs/config.md from the schema.

    python tools/generate.py

A test compares both with what this writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from ra.cli import _parser
from ra.files import write_text

DOCS = Path(__file__).parents[1] / "docs"
SCHEMA = DOCS.parent / "workflow/schemas/config.schema.yaml"
MADE = "<!-- Made by `python tools/generate.py`; do not edit. -->\n\n"


def main() -> None:
    write_text(DOCS / "cli.md", command_line())
    write_text(DOCS / "config.md", configuration())


def command_line() -> str:
    """Every command of `ra` with its flags, their defaults and units."""
    parser = _parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = [
        "# Command line\n",
        MADE + "`ra COMMAND --help` says the same in the terminal. A mistake is one line on stderr "
        "and exit code 1 or 2.\n",
        _table(
            ["command", "what it does"],
            [
                [f"[`ra {choice.dest}`](#ra-{choice.dest})", choice.help]
                for choice in commands._choices_actions
            ],
        ),
    ]
    for name, command in commands.choices.items():
        parts += [f"## ra {name}\n", f"{command.description}\n"]
        for group in command._action_groups:
            actions = [a for a in group._group_actions if a.dest != "help"]
            if actions:
                rows = [[_flag(a), _default(a), _help(a)] for a in actions]
                parts += [f"{group.title}:\n", _table(["flag", "default", "meaning"], rows)]
    return "\n".join(parts)


def _flag(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    many = {"+": " …", "*": " …", "...": ""}.get(action.nargs, "")
    if not action.option_strings:
        return f"`{value}{many}`"
    takes = "" if action.nargs == 0 else f" {value}{many}"
    return f"`{', '.join(action.option_strings)}{takes}`"


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    nothing = (None, [], "", argparse.SUPPRESS)
    if action.default is False or action.default in nothing or "default" in (action.help or ""):
        return ""
    values = action.default if isinstance(action.default, list) else [action.default]
    return f"`{' '.join(map(str, values))}`"


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def configuration() -> str:
    """Every key of config.yaml: type, default, range, meaning."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    rows = _keys(schema, schema["$defs"], "")
    return "\n".join(
        [
            "# Configuration\n",
            MADE + "Keys of `config.yaml`, `workflow/presets/*.yaml` and `snakemake --config`. "
            "A wrong key or value is one line before any job runs.\n",
            _table(["key", "default", "allowed", "meaning"], rows),
        ]
    )


def _keys(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> list[list[str]]:
    rows = []
    for key, part in schema.get("properties", {}).items():
        part = {**_resolved(part, definitions), **part}
        name = f"{prefix}{key}"
        below = _keys(part, definitions, f"{name}.")
        others = part.get("additionalProperties")
        if isinstance(others, dict) and "description" in {**_resolved(others, definitions)}:
            below.append(_row(f"{name}.NAME", _resolved(others, definitions)))
        if not below or part.get("description"):
            rows.append(_row(name, part))
        rows += below
    return rows


def _resolved(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _row(name: str, part: dict[str, Any]) -> list[str]:
    default = ""
    if "default" in part and part["default"] != {}:
        default = f"`{_yaml(part['default'])}`"
    return [f"`{name}`", default, _allowed(part), part.get("description", "")]


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return text.removesuffix("...").strip()


def _allowed(part: dict[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "oneOf" in part:
        return " or ".join(_allowed(choice) for choice in part["oneOf"])
    types = part.get("type", "object")
    text = " or ".join(types if isinstance(types, list) else [types])
    items = part.get("items", {}).get("type")
    text += f" of {items}s" if items else ""
    for key, word in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤")):
        text += f", {word} {part[key]}" if key in part else ""
    return text


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


if __name__ == "__main__":
    main()
