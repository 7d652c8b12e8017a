"""The ``ra`` command: argument parsing only. Flags of the released script keep their names."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from ra import __version__
from ra.cli import analysis_transfer, bench, black_box, boundaries, core, detection, report, use
from ra.cli.flags import Parser
from ra.errors import one_line
from ra.progress import quieted

# Each module adds its commands; what a command needs is imported when it runs.
MODULES = (core, use, report, bench, analysis_transfer, boundaries, black_box, detection)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one ``ra`` command; what a user can mend is one line on stderr and exit code 1.

    Ctrl-C ends it with 130, SIGTERM with 143; a fault of this program keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", 0) > 0:
        # Before torch is imported: its thread pools read this once.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        with _terminable(), quieted(options.quiet):
            return options.run(options) or 0
    except KeyboardInterrupt:
        _say(f"ra {options.command}: interrupted")
        return 130
    except Terminated as stopped:
        _say(f"ra {options.command}: terminated")
        return stopped.code
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        _say(f"ra {options.command}: error: {line}")
        return 1


class Terminated(SystemExit):
    """SIGTERM outside of a training, which has its own way to stop."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an exception, so that no temporary file stays and MLflow is told."""
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


def _parser() -> Parser:
    parser = Parser(prog="ra", description="Recognition-aware image processing.")
    parser.add_argument("--version", action="version", version=f"ra {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in MODULES:
        module.add(commands)
    return parser
