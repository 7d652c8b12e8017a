"""The ``ra`` command: argument parsing only. Flags of the released script keep their names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ra import __version__
from ra.cli import analysis_transfer, bench, black_box, boundaries, core, report, use
from ra.cli.flags import Parser
from ra.errors import UserError

# Each module adds its commands; what a command needs is imported when it runs.
MODULES = (core, use, report, bench, analysis_transfer, boundaries, black_box)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one ``ra`` command; a user's mistake is one line on stderr and exit code 1."""
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", 0):
        # Before torch is imported: its thread pools read this once.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.quiet:
        os.environ["RA_QUIET"] = "1"  # processes that it starts are quiet as well
    try:
        return options.run(options) or 0
    except UserError as error:
        print(f"ra {options.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"ra {options.command}: interrupted", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(prog="ra", description="Recognition-aware image processing.")
    parser.add_argument("--version", action="version", version=f"ra {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in MODULES:
        module.add(commands)
    return parser
