"""Builds the parser of a command from its settings (``ra.settings``)."""

import argparse
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ra import __version__
from ra.cli.commands import COMMANDS, GROUPS
from ra.errors import UserError, unknown
from ra.registry import Registry, load_plugins
from ra.settings.base import checked
from ra.settings.commands import Command

REGISTRIES = {
    "task": ("ra.data.degradations", "TASKS"),
    "architecture": ("ra.models.processors", "PROCESSORS"),
    "objective": ("ra.training.objectives", "OBJECTIVES"),
    "measure": ("ra.evaluation.quality", "MEASURES"),
}
EXAMPLES = Path(__file__).with_name("examples.txt")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _OneOrSeveral(argparse.Action):
    """A single word is itself, several are a list."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, values if len(values) > 1 else values[0])


def parse(arguments: Sequence[str]) -> tuple[str, Command]:
    """What to run ("module:function"), and its settings.

    Raises:
        UserError: one line that names the flag.
        SystemExit: --help, --version, or words that are no flags.
    """
    name = arguments[0] if arguments else None
    if name not in COMMANDS:
        _overview(arguments)
        raise unknown("command", name, COMMANDS)
    model, function = COMMANDS[name]
    _look_ahead(arguments[1:])
    parser, fields = command_parser(name)
    given = vars(parser.parse_args(arguments[1:]))
    return function, _settings(model, given, fields)


def _look_ahead(arguments: Sequence[str]) -> None:
    """What has to be known first: threads before torch is imported, plugins before any name."""
    first = Parser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--threads", type=int)
    first.add_argument("--plugins", nargs="+", default=[])
    try:
        known, _ = first.parse_known_args(arguments)
    except argparse.ArgumentError:
        return  # the parser of the command has the better message
    if (known.threads or 0) > 0:
        os.environ["OMP_NUM_THREADS"] = str(known.threads)
    load_plugins(known.plugins)


def _overview(arguments: Sequence[str]) -> None:
    """`ra`, `ra --help`, `ra --version`."""
    lines = []
    for group, names in GROUPS.items():
        lines += [f"\n{group}:", *(f"  {name:<24}{summary(name)}" for name in names)]
        lines.append(f"  for example: {example(next(iter(names)))}")
    parser = Parser(
        prog="ra",
        usage="ra COMMAND [FLAGS]; ra COMMAND --help shows them",
        description="Recognition-aware image processing.",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ra {__version__}")
    if not arguments:
        parser.error("the following arguments are required: COMMAND")
    parser.parse_known_args(arguments)


def summary(name: str) -> str:
    """The command's help: the first line of its settings' docstring."""
    return COMMANDS[name][0].__doc__.split("\n")[0]


def example(name: str) -> str:
    """A line that shows how the command is used."""
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.split()[1] == name)


def command_parser(name: str) -> tuple[Parser, dict[str, tuple[str, ...]]]:
    """The parser of one command, and where in its settings each flag belongs."""
    model, _ = COMMANDS[name]
    parser = Parser(
        prog=f"ra {name}",
        description=summary(name),
        epilog=f"example: {example(name)}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    fields: dict[str, tuple[str, ...]] = {}
    for group, path, field in _fields(model):
        target = parser if group is None else _group(parser, group)
        extra: Any = field.json_schema_extra or {}
        cli = extra.get("cli", {})
        if "registry" in cli:
            _add_registry(_group(parser, f"settings of the {cli['registry']}"), path, cli, fields)
        else:
            _add(target, cli.get("flag", path[-1]), path, field, cli, fields)
    return parser, fields


def _fields(model: type[BaseModel]) -> Iterator[tuple[str | None, tuple[str, ...], FieldInfo]]:
    """(group, keys, field) of all settings, groups of settings flattened and last."""
    groups = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            groups.append((name, kind))
        else:
            yield None, (name,), field
    for name, kind in groups:
        for key, field in kind.model_fields.items():
            yield name, (name, key), field


def _group(parser: Parser, title: str):
    known = {group.title: group for group in parser._action_groups}
    return known.get(title) or parser.add_argument_group(title)


def _add(target, name: str, path, field: FieldInfo, cli: Mapping[str, Any], fields) -> None:
    options = {"help": _help(field), **_shape(field, cli)}
    if cli.get("positional"):
        target.add_argument(name, **options)
    else:
        target.add_argument(_flag(name), dest=name, required=field.is_required(), **options)
    fields[name] = path


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shape(field: FieldInfo, cli: Mapping[str, Any]) -> dict[str, Any]:
    """How argparse takes the field's values; they stay text, which pydantic converts."""
    kind, many = _kind(field.annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction if field.default else "store_true"}
    shape: dict[str, Any] = {}
    metavar = cli.get("metavar")
    if many == 2:
        shape |= {"nargs": "+", "action": "append", "metavar": tuple(metavar.split())}
    elif many:
        empty = field.default == () and cli.get("positional")
        shape |= {"nargs": "*" if empty or kind is int else "+"}
    if metavar and "metavar" not in shape:
        shape["metavar"] = metavar
    elif typing.get_origin(kind) is Literal and not metavar:
        shape["metavar"] = "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    return shape


def _kind(annotation: Any, many: int = 0) -> tuple[Any, int]:
    """(type of a single value, depth of nesting in tuples)."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kind(typing.get_args(annotation)[0], many)
    if origin in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _kind(inner[0], many)
    if origin is tuple:
        return _kind(typing.get_args(annotation)[0], many + 1)
    return annotation, many


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    default = field.get_default()
    if field.is_required() or default in (None, False, (), {}) or "default" in text:
        return text
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} (default: {shown})".lstrip()


def _add_registry(group, path, cli: Mapping[str, Any], fields) -> None:
    """The settings of all classes of a registry; which of them fit is checked when one is built."""
    for name, (help, kind) in registry_flags(cli["registry"]).items():
        flag = cli["prefix"] + name
        if flag in fields:
            raise UserError(
                f"{_flag(flag)}: is a flag of this command and a setting of a "
                f"{cli['registry']}; rename the setting"
            )
        options = {"action": argparse.BooleanOptionalAction}
        if kind is not bool:
            options = {"action": _OneOrSeveral, "nargs": "+", "metavar": "VALUE"}
        group.add_argument(_flag(flag), dest=flag, help=help, **options)
        fields[flag] = (*path, name)


def registry_flags(kind: str, package: str = "") -> dict[str, tuple[str, Any]]:
    """Setting -> (help, type), over the classes of the registry ``kind`` from ``package``."""
    module, name = REGISTRIES[kind]
    registry: Registry = getattr(import_module(module), name)
    found: dict[str, dict[str, list[str]]] = {}
    types: dict[str, Any] = {}
    for entry in registry:
        if not registry.get(entry).__module__.startswith(package):
            continue
        for setting, field in registry.settings(entry).model_fields.items():
            default = "" if field.is_required() else f" {field.default}"
            entries = found.setdefault(setting, {}).setdefault(field.description or "", [])
            entries.append(f"{entry}{default}")
            types[setting] = field.annotation
    return {
        setting: (
            "; ".join(f"{what} ({', '.join(who)})".strip() for what, who in texts.items()),
            kind,
        )
        for (setting, texts), kind in zip(found.items(), types.values(), strict=True)
    }


def _settings(model: type[Command], given: Mapping[str, Any], fields) -> Command:
    """The values of flags, put where they belong and checked."""
    tree: dict[str, Any] = {}
    for flag, value in given.items():
        *above, last = fields[flag]
        place = tree
        for key in above:
            place = place.setdefault(key, {})
        place[last] = value
    names = {path[-1]: flag for flag, path in fields.items()}

    def name(keys: list[str]) -> str:
        key = next((key for key in reversed(keys) if key in names), keys[-1])
        cli = (getattr(model.model_fields.get(key), "json_schema_extra", None) or {}).get("cli", {})
        return key if cli.get("positional") else _flag(names.get(key, key))

    return checked(model, tree, name=name)
