"""``ra watch``: one line on the terminal for each running job."""

from __future__ import annotations

import os
import queue
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
    out = out or sys.stdout
    if not command:
        return _follow(folder, out)
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, FOLDER: str(folder.absolute())},
    )
    said: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(child.stdout, said), daemon=True).start()
    # Ctrl-C reaches the command as well; the command decides what to finish, and we wait for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    block = Block(out)
    try:
        while _print(said, block):
            block.draw([*block.head, *job_lines(folder)])
    finally:
        block.draw([])
        signal.signal(signal.SIGINT, before)
    return child.wait()


def _follow(folder: Path, out: TextIO) -> int:
    block = Block(out)
    try:
        while True:
            lines = job_lines(folder) or [f"no job is running ({folder})"]
            if not block.terminal:
                out.write("".join(f"{text}\n" for text in lines))
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


def _read(source: TextIO, said: queue.Queue) -> None:
    for text in source:
        said.put(text.rstrip("\n"))
    said.put(None)


def _print(said: queue.Queue, block: Block) -> bool:
    """Print the output of the next ``EVERY_S`` seconds above ``block``; False at its end."""
    until = time.monotonic() + EVERY_S
    while (left := until - time.monotonic()) > 0:
        try:
            text = said.get(timeout=left)
        except queue.Empty:
            break
        if text is None:
            return False
        block.above(text)
        if done := DONE.search(text):
            block.head = [f"jobs  {done[2]}%  {done[1]} done"]
    return True


class Block:
    """Lines at the bottom of a terminal that are redrawn in place.

    They never fill the terminal: lines that have scrolled off its top cannot be erased, so each
    redraw of a taller block would scroll all of it again.
    """

    def __init__(self, out: TextIO) -> None:
        self.out, self.terminal = out, out.isatty()
        self.head: list[str] = []  # drawn first
        self._lines: list[str] = []

    def above(self, text: str) -> None:
        """Print ``text`` above the block."""
        lines = self._lines
        self._erase()
        self.out.write(text + "\n")
        self._show(lines)

    def draw(self, lines: list[str]) -> None:
        self._erase()
        self._show(lines)

    def _erase(self) -> None:
        if self._lines:
            self.out.write(f"\x1b[{len(self._lines)}A\x1b[J")  # up, and clear to the end
            self._lines = []

    def _show(self, lines: list[str]) -> None:
        if self.terminal and lines:
            columns, rows = shutil.get_terminal_size()
            room = max(rows - 2, 1)  # the last line of output above, the cursor below
            if len(lines) > room:
                lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
            self._lines = [text[: columns - 1] for text in lines]
            self.out.write("".join(f"{text}\n" for text in self._lines))
        self.out.flush()
