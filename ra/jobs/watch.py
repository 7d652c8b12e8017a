"""``ra watch``: one line for each job that runs, on the terminal of the person who waits."""

from __future__ import annotations

import os
import queue
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

EVERY_S = 1.0


def watch(folder: Path, command: Sequence[str] = (), out: TextIO | None = None) -> int:
    """Show the jobs whose status files are in ``folder`` until Ctrl-C, or until ``command`` ends.

    What the command says is printed above the lines of the jobs. Where ``out`` is no terminal,
    only what the command says is passed on: a log has no use for lines that change.

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
    # Ctrl-C reaches the command as well; it decides what to finish, and this waits for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    block = Block(out)
    try:
        while _print(said, block):
            block.draw([line(state) for state in running(folder)])
    finally:
        block.draw([])
        signal.signal(signal.SIGINT, before)
    return child.wait()


def _follow(folder: Path, out: TextIO) -> int:
    block = Block(out)
    try:
        while True:
            lines = [line(state) for state in running(folder)]
            block.draw(lines or [f"no job runs ({folder})"])
            if not block.terminal:
                out.write("".join(f"{text}\n" for text in lines))
                return 0
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return 0


def _read(source: TextIO, said: queue.Queue) -> None:
    for text in source:
        said.put(text.rstrip("\n"))
    said.put(None)


def _print(said: queue.Queue, block: Block) -> bool:
    """Print what comes within ``EVERY_S`` seconds above ``block``; False at the end."""
    until = time.monotonic() + EVERY_S
    while (left := until - time.monotonic()) > 0:
        try:
            text = said.get(timeout=left)
        except queue.Empty:
            break
        if text is None:
            return False
        block.above(text)
    return True


class Block:
    """Lines at the bottom of a terminal that are drawn again and again."""

    def __init__(self, out: TextIO) -> None:
        self.out, self.terminal = out, out.isatty()
        self._lines: list[str] = []

    def above(self, text: str) -> None:
        """Print ``text`` above the block."""
        lines, _ = self._lines, self._erase()
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
            width = shutil.get_terminal_size().columns - 1
            self._lines = [text[:width] for text in lines]
            self.out.write("".join(f"{text}\n" for text in self._lines))
        self.out.flush()
