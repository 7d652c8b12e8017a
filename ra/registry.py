"""Named factories: a new task, P, T, R or objective is one function or class and one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ra.errors import unknown

NO_RECOGNIZER = "none"  # stands for "no recognizer" in paths, headers and tables


class Registry:
    """Maps a name to a factory; a bad name is answered with the nearest good ones.

    >>> tasks = Registry("task")
    >>> tasks.register("sr")(lambda: "super-resolution")()
    'super-resolution'
    >>> tasks.get("sr")()
    'super-resolution'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = {}

    def register(self, *names: str) -> Callable[[Any], Any]:
        """Decorator: make the factory known under each of ``names``."""

        def add(factory: Any) -> Any:
            for name in names:
                self._entries[name] = factory
            return factory

        return add

    def get(self, name: str) -> Any:
        """The factory called ``name``; raises UserError with the nearest names if there is none."""
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def title(self, name: str) -> str:
        """The display name: the entry's own (not inherited) ``title``; else ``name``."""
        return vars(self._entries[name]).get("title", name) if name in self._entries else name

    def __iter__(self) -> Iterator[str]:
        """Names in the order of registration, which is the order of rows in tables."""
        return iter(self._entries)
