"""``ra watch``: one line on the terminal for each running job."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time

from ra.progress import running
from ra.settings.commands import Watch

EVERY_S = 1.0


def watch_jobs(o: Watch) -> None:
    """Show the jobs below ``o.results`` until Ctrl-C; to a pipe, once."""
    folder = o.results / ".progress"
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            jobs = running(folder)
            width = max((len(name) for name, _ in jobs), default=0)
            lines = [f"{name:<{width}}  {state}" for name, state in jobs]
            lines = lines or [f"no job is running ({folder})"]
            if not sys.stdout.isatty():
                return print("\n".join(lines))
            columns, rows = shutil.get_terminal_size()
            if len(lines) >= rows:
                lines[rows - 2 :] = [f"... and {len(lines) - rows + 2} more"]
            shown = "".join(f"{line[: columns - 1]}\n" for line in lines)
            print("\x1b[H\x1b[2J" + shown, end="", flush=True)  # on a screen that is cleared
            time.sleep(EVERY_S)
