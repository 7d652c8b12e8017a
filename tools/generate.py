"""Writes what is generated from ``ra/settings``: the schema of config.yaml and two pages.

    python tools/generate.py

A test compares the files with what this writes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from ra.cli.commands import COMMANDS, GROUPS
from ra.cli.parser import REGISTRIES, command_parser, example, registry_flags, summary
from ra.experiment import Experiment
from ra.files import write_text

ROOT = Path(__file__).parents[1]
MADE = "<!-- Made by `python tools/generate.py` from `ra/settings`; do not edit. -->\n\n"


def main() -> None:
    """Write every generated page."""
    for path, text in made().items():
        write_text(path, text)


def made() -> dict[Path, str]:
    """Every generated file with its content."""
    return {
        ROOT / "workflow/schemas/config.schema.yaml": schema(),
        ROOT / "docs/config.md": configuration(),
        ROOT / "docs/cli.md": command_line(),
    }


def schema() -> str:
    """The JSON schema of config.yaml, for editors and the workflow catalog."""
    head = (
        "# Made by `python tools/generate.py` from ra/experiment.py and ra/settings; do not edit.\n"
    )
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    made |= Experiment.model_json_schema(mode="validation")
    plain = json.loads(json.dumps(made))
    return head + yaml.safe_dump(plain, sort_keys=False, width=100, allow_unicode=True)


def command_line() -> str:
    """Every command of `ra` with its flags, their defaults and units."""
    parts = [
        "# Command line\n",
        MADE + "`ra COMMAND --help` prints the same in the terminal. A mistake is one line on "
        "stderr and exit code 1 or 2.\n",
    ]
    for group, names in GROUPS.items():
        rows = [[f"[`ra {name}`](#ra-{name})", summary(name)] for name in names]
        parts += [f"{group[0].upper()}{group[1:]}:\n", _table(["command", "what it does"], rows)]
    for name in COMMANDS:
        parser, _ = command_parser(name)
        parts += [f"## ra {name}\n", f"{parser.description}\n"]
        parts.append(f"```\n{example(name)}\n```\n")
        for group in parser._action_groups:
            actions = [a for a in group._group_actions if a.dest != "help"]
            if actions and not group.title.startswith("settings of"):
                rows = [[_flag(a), "yes" if a.required else "", _help(a)] for a in actions]
                parts += [f"{group.title}:\n", _table(["flag", "required", "meaning"], rows)]
            elif actions:
                flags = ", ".join(f"`{a.option_strings[0]}`" for a in actions)
                parts += [f"{group.title} ([meanings](config.md)): {flags}\n"]
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


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def configuration() -> str:
    """Every key of config.yaml: type, default, range, meaning."""
    schema = Experiment.model_json_schema()
    parts = [
        "# Configuration\n",
        MADE + "Keys of `config.yaml`, `workflow/presets/*.yaml` and `snakemake --config`. "
        "A wrong key or value is one line before any job runs.\n",
        _table(
            ["key", "default", "allowed", "meaning"],
            list(_keys(schema, schema["$defs"], "", set())),
        ),
        "## Settings of tasks, architectures and objectives\n",
        "Keys below `tasks.NAME`, of `processor` and `transformer`, and below `objectives.NAME`; "
        "on the command line, flags. Classes of your own bring theirs ([extend](extend.md)).\n",
    ]
    for kind in REGISTRIES:
        rows = [[f"`{name}`", text] for name, (text, _) in registry_flags(kind, "ra.").items()]
        if rows:
            parts.append(_table([kind, "meaning (with the default of each)"], rows))
    return "\n".join(parts)


def _keys(schema: dict[str, Any], definitions: dict[str, Any], prefix: str, known: set):
    """Rows of the table; a group of keys is followed by its keys where it occurs first."""
    for key, part in schema.get("properties", {}).items():
        inner = definitions[part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
        name = f"{prefix}{key}"
        default = "" if "$ref" in part or "default" not in part else f"`{_yaml(part['default'])}`"
        yield [f"`{name}`", default, _allowed({**inner, **part}), part.get("description", "")]
        if inner.get("title") not in known:
            yield from _keys(inner, definitions, f"{name}.", known)
        known.add(inner.get("title"))


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return text.removesuffix("...").strip()


def _allowed(part: dict[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        choices = [_allowed(choice) for choice in part["anyOf"]]
        return " or ".join(dict.fromkeys(choices))
    text = part.get("type", "mapping").replace("object", "mapping").replace("array", "list")
    items = _allowed(part["items"]) if "items" in part else ""
    text += f" of {items}" if items else ""
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    for key, word in limits.items():
        text += f", {word} {part[key]}" if key in part else ""
    return text


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


if __name__ == "__main__":
    main()
