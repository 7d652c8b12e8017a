"""Files appear whole or not at all: written beside the target, flushed to disk, renamed."""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from ra.errors import UserError

HOST = os.uname().nodename
TEMPORARY = re.compile(rf"\..+\.ra-(\d+)-{re.escape(HOST)}(\..*)?")
_cleared: set[Path] = set()
WRITTEN: dict[Path, None] = {}  # what this process wrote, in order; `ra` names it at the end
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what flock says on such disks


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and renamed to ``path``.

    The temporary name keeps the suffix of ``path`` (libraries choose formats by it). If the body
    raises, ``path`` is as it was. What a kill -9 left in the folder goes when the next process
    writes there. An OSError names ``path``, never the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.ra-{os.getpid()}-{HOST}{path.suffix}")
    _clear(path.parent)
    try:
        with named(path, temporary):
            yield temporary
            with open(temporary, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            WRITTEN[path] = None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path: Path, instead: Path | None = None) -> Iterator[None]:
    """An OSError that names no file, as one of a write does, or ``instead``, names ``path``."""
    try:
        yield
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == str(instead):
            error.filename = os.fspath(path)
        raise


def _clear(folder: Path) -> None:
    """Remove the temporary files in ``folder`` of processes of this machine that are gone.

    Once a folder and process: listing a large folder takes longer than writing a file.
    """
    if folder in _cleared:
        return
    _cleared.add(folder)
    for entry in folder.iterdir():
        match = TEMPORARY.fullmatch(entry.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            entry.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel lets go of it however this process ends.

    Where the file system has no such locks, a file beside it (``path``.pid) that names the process
    stands for them. What a killed process of this machine left counts as free.

    Raises:
        filelock.Timeout: another process holds it; ``lock_file`` is the file.
    """
    lock: BaseFileLock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        with named(path):
            lock.acquire()
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        lock = SoftFileLock(f"{path}.pid", timeout=0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process.

    Raises:
        UserError: another process holds it, as a job does that outlived its killed Snakemake.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock"))
        except Timeout as taken:
            file = taken.lock_file
            lost = f"; if its machine is gone, delete {file}" if file.endswith(".pid") else ""
            raise UserError(
                f"{folder}: another process is at work in it; wait for its end, or stop it{lost}"
            ) from None
        yield


def escaped(path: Path | str) -> str:
    r"""``path`` for messages and tables; bytes that are not UTF-8 are escaped, as in caf\xe9."""
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
