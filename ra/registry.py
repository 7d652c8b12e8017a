"""Named classes that users extend: tasks, processors, objectives, measures.

A class's settings are the fields of its dataclass, or the parameters of its constructor. They are
keys of the config, flags of the command and part of a model's header without being named again.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, create_model

from ra.errors import UserError, first_line, unknown
from ra.settings.base import Settings, checked

NO_RECOGNIZER = "none"  # stands for "no recognizer" in paths, headers and tables


class Registry:
    """Maps a name to a class or function; a bad name is answered with the nearest good ones.

    >>> tasks = Registry("task")
    >>> tasks.register("sr")(lambda: "super-resolution")()
    'super-resolution'
    >>> tasks.build("sr")
    'super-resolution'

    Args:
        kind: what an entry is called in messages.
        given: parameters that are no settings: the package itself supplies them.
    """

    def __init__(self, kind: str, given: Iterable[str] = ()) -> None:
        self.kind, self.given = kind, frozenset(given)
        self._entries: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, *aliases: str) -> Callable[[Any], Any]:
        """Decorator: make the class or function known as ``name``, and under ``aliases``.

        Raises:
            UserError: the name is taken; names both files.
        """

        def add(entry: Any) -> Any:
            for one in (name, *aliases):
                known = self._entries.get(self._aliases.get(one, one))
                if known is not None and _place(known) != _place(entry):
                    raise UserError(
                        f"{self.kind} '{one}' is registered twice: in {_file(known)} and in "
                        f"{_file(entry)}; rename one"
                    )
                self._aliases[one] = name
            self._entries[name] = entry
            return entry

        return add

    def canonical(self, name: str) -> str:
        """The one name of an entry, which stands in paths and tables."""
        if name not in self:
            raise unknown(self.kind, name, self._aliases)
        return self._aliases[name]

    def get(self, name: str) -> Any:
        """The entry called ``name``; raises UserError with the nearest names if there is none."""
        return self._entries[self.canonical(name)]

    def settings(self, name: str) -> type[BaseModel]:
        """The settings of an entry as a class: types, defaults, limits and help."""
        return settings_of(self.get(name), self.given)

    def check(self, name: str, given: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """All settings of the entry ``name``: those ``given``, else the defaults.

        Args:
            where: what precedes a setting's name in messages.

        Raises:
            UserError: one line: the setting, what is wrong, what is allowed.
        """
        model = self.settings(name)
        for key in given:
            if key not in model.model_fields:
                has = ", ".join(model.model_fields) or "none"
                place = f"{where}{repr(key)[1:-1]}"
                raise UserError(f"{place}: {self.kind} {name} has no such setting; it has {has}")
        return checked(model, given, where).model_dump()

    def build(self, name: str, settings: Mapping[str, Any] = {}, **given: Any) -> Any:
        """Call the entry ``name`` with ``settings``, checked, and what the package supplies."""
        return self.get(name)(**given, **self.check(name, settings))

    def title(self, name: str) -> str:
        """The display name: the entry's own (not inherited) ``title``; else ``name``."""
        return vars(self._entries[name]).get("title", name) if name in self._entries else name

    def plugin(self, name: str) -> str | None:
        """The user's file that defines the entry; None where the package does."""
        return PLUGINS.get(self.get(name).__module__)

    def __iter__(self) -> Iterator[str]:
        """Names in the order of registration, which is the order of rows in tables."""
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name) in self._entries


def settings_of(entry: Any, given: Iterable[str] = ()) -> type[BaseModel]:
    """A dataclass's fields, or else a constructor's or function's parameters, as settings."""
    has_constructor = inspect.isclass(entry) and not dataclasses.is_dataclass(entry)
    call = entry.__init__ if has_constructor else entry
    try:
        # Measures import Tensor for a type checker only.
        hints = typing.get_type_hints(call, localns={"Tensor": Any}, include_extras=True)
    except NameError:
        hints = {}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(entry).parameters.items():
        if name in given or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    return create_model(entry.__name__, __base__=Settings, **fields)


def _place(entry: Any) -> tuple[str, str]:
    return _file(entry), entry.__qualname__


def _file(entry: Any) -> str:
    return inspect.getsourcefile(entry) or entry.__module__


PLUGINS: dict[str, str] = {}  # module -> the name the user gave it


def load_plugins(names: Iterable[str]) -> None:
    """Import the user's ``names``: files (``my_task.py``) or modules (``my.tasks``), each once.

    Raises:
        UserError: one line: the file, the line in it, and what went wrong there.
    """
    for name in names:
        path = Path(name).expanduser()
        is_file = path.suffix == ".py"
        module = re.sub(r"\W", "_", f"plugin{path.resolve()}") if is_file else name
        if module in PLUGINS:
            continue
        try:
            if is_file:
                _import_file(module, path)
            else:
                if str(Path.cwd()) not in sys.path:
                    sys.path.insert(0, str(Path.cwd()))
                importlib.import_module(name)
        except UserError:
            raise
        except Exception as error:  # it is the user's code: whatever it raises
            raise UserError(f"plugin {name}{_line(error, path)}: {first_line(error)}") from None
        PLUGINS[module] = name


def _import_file(module: str, path: Path) -> None:
    if not path.is_file():
        raise UserError(f"plugin {path}: no such file")
    spec = importlib.util.spec_from_file_location(module, path)
    sys.modules[module] = loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise


def _line(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
