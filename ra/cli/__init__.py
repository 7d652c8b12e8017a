"""The ``ra`` command. Flags of the released script keep their names."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module

from ra.cli.outcome import outcome
from ra.cli.parser import parse
from ra.errors import one_line
from ra.files import WRITTEN
from ra.progress import quieted, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one ``ra`` command; its last line says what came out, and where.

    A user's mistake is one line on stderr and exit code 1.

    Ctrl-C ends it with 130, SIGTERM with 143; a fault of this program keeps its traceback.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments else ""
    try:
        with _terminable():
            function, settings = parse(arguments)
            module, _, name = function.partition(":")
            with quieted(settings.quiet):
                WRITTEN.clear()
                said = getattr(import_module(module), name)(settings)
                if line := outcome(command, said, WRITTEN):
                    say(line)
                return 0
    except KeyboardInterrupt:
        _say(f"ra {command}: interrupted")
        return 130
    except Terminated as stopped:
        _say(f"ra {command}: terminated")
        return stopped.code
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        _say(f"ra {command}: error: {line}")
        return 1


class Terminated(SystemExit):
    """SIGTERM outside of a training, which has its own way to stop."""

    code: int


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an exception, so that no temporary file stays and MLflow learns of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    """To stderr, which may be a log on the disk that is full."""
    with suppress(OSError):
        print(line, file=sys.stderr)
        sys.stderr.flush()
