"""``ra watch``: one line on the terminal for each running job."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ra.progress import FOLDER, line, running
from ra.settings.commands import Watch

EVERY_S = 1.0
DONE = re.compile(r"(\d+ of \d+) steps \((\d+)%\) done")  # Snakemake's own line


def watch_jobs(o: Watch) -> int:
    """Show the jobs below ``o.results``, of a command or of whoever runs them."""
    words = o.run_command[1:] if o.run_command[:1] == ("--",) else o.run_command
    return watch(o.results / ".progress", words)


def watch(folder: Path, command: Sequence[str] = (), out: TextIO | None = None) -> int:
    """Show the jobs whose status files are in ``folder`` until Ctrl-C, or until ``command`` ends.

    The output of the command is printed above the lines of the jobs. If ``out`` is not a terminal,
    only that output is passed on, because a log cannot hold lines that change.

    Returns:
        The command's exit status; 0 without one.
    """
    block = Block(out or sys.stdout)
    if not command:
        return _follow(folder, block)
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, FOLDER: str(folder.absolute())},
    )
    head: list[str] = []
    ended = threading.Event()

    def redraw() -> None:
        while not ended.wait(EVERY_S):
            block.draw([*head, *job_lines(folder)])

    drawing = threading.Thread(target=redraw, daemon=True)
    # Ctrl-C reaches the command as well; the command decides what to finish, and we wait for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        drawing.start()
        for text in child.stdout:
            block.above(text.rstrip("\n"))
            if done := DONE.search(text):
                head[:] = [f"jobs  {done[2]}%  {done[1]} done"]
    finally:
        ended.set()
        drawing.join()
        block.draw([])
        signal.signal(signal.SIGINT, before)
    return child.wait()


def _follow(folder: Path, block: Block) -> int:
    try:
        while True:
            lines = job_lines(folder) or [f"no job is running ({folder})"]
            if not block.terminal:
                block.out.write("".join(f"{text}\n" for text in lines))
                return 0
            block.draw(lines)
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return 0


def job_lines(folder: Path) -> list[str]:
    """One line for each running job, with the names aligned."""
    states = running(folder)
    width = max((len(state["name"]) for state in states), default=0)
    return [line(state, width) for state in states]


class Block:
    """Lines at the bottom of a terminal that are redrawn in place; two threads may use it.

    They never fill the terminal: lines that have scrolled off its top cannot be erased, so each
    redraw of a taller block would scroll all of it again.
    """

    def __init__(self, out: TextIO) -> None:
        self.out, self.terminal = out, out.isatty()
        self._lines: list[str] = []
        self._drawn = 0
        self._lock = threading.Lock()

    def above(self, text: str) -> None:
        """Print ``text`` above the block."""
        with self._lock:
            self._redraw(text + "\n")

    def draw(self, lines: list[str]) -> None:
        """Replace the block by ``lines``."""
        with self._lock:
            self._lines = lines if self.terminal else []
            self._redraw()

    def _redraw(self, above: str = "") -> None:
        columns, rows = shutil.get_terminal_size()
        room = max(rows - 2, 1)  # the last line of output above, the cursor below
        erase = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""  # up, and clear to the end
        shown = self._lines
        if len(shown) > room:
            shown = [*shown[: room - 1], f"... and {len(shown) - room + 1} more"]
        self._drawn = len(shown)
        self.out.write(erase + above + "".join(f"{text[: columns - 1]}\n" for text in shown))
        self.out.flush()
