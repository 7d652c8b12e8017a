"""Files appear whole or not at all: written beside the target, flushed to disk, renamed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from ra.errors import UserError


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary name keeps the suffix of ``path`` (libraries choose formats by it). If the body
    raises, the temporary file is removed and ``path`` is as it was; what a kill -9 left beside it
    goes at the next writing. An OSError names ``path``, never the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    _clear(path)
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == os.fspath(temporary):
            error.filename = None
        with named(path):
            raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An OSError that names no file, as one of a write does, names ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def _clear(path: Path) -> None:
    """Remove temporary files of ``path`` whose process is gone."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    for entry in path.parent.iterdir():
        match = name.fullmatch(entry.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            entry.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the kernel lets go of it however the process ends.

    Raises:
        UserError: another process holds it, as a job does that outlived its killed Snakemake.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder}: another process is at work in it; wait for its end, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def escaped(path: Path | str) -> str:
    """``path`` for messages and tables; bytes that are not UTF-8 are escaped, as in caf\\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_csv(path: Path | str, table: Any, **options: Any) -> None:
    """Write a pandas ``table`` to ``path`` without its index, whole or not at all."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, **options)


def read_yaml(path: Path) -> Any:
    """The content of a YAML (or JSON) file.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read; one line that names the file and the line in it.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: not valid YAML ({error.problem})") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    # A tag such as !!bool or !!timestamp before text that is neither raises half a dozen kinds.
    except (OSError, ValueError, LookupError, AttributeError, TypeError, yaml.YAMLError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path}: cannot be read ({reason})") from None
