"""Progress of a job: a bar on a terminal, plain lines in a log, a status file for ``ra watch``.

Jobs of Snakemake have no terminal. Each writes its state to a small file in $RA_PROGRESS, which the
workflow sets, and ``ra watch`` shows one line per file. A job never waits for a reader. The file of
a job that died is removed by the next reader.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

FOLDER, QUIET = "RA_PROGRESS", "RA_QUIET"  # environment variables
LINE_S = 10.0  # seconds between the lines in a log file
STATUS_S = 1.0  # seconds between two writings of the status file
STALE_S = 600.0  # without a writing a job of another machine counts as dead


def quiet() -> bool:
    """Whether only warnings and errors are wanted (``--quiet``)."""
    return bool(os.environ.get(QUIET))


def say(text: object) -> None:
    """Print a result, unless --quiet was given."""
    if not quiet():
        print(text)


@contextlib.contextmanager
def quieted(wanted: bool = True) -> Iterator[None]:
    """Make this process, and those it starts, quiet inside the ``with`` block only.

    ``wanted=False`` changes nothing: a process started by a quiet one stays quiet.
    """
    before = os.environ.get(QUIET, "")
    os.environ[QUIET] = "1" if wanted else before
    try:
        yield
    finally:
        os.environ[QUIET] = before


class Progress(tqdm):
    """tqdm on a terminal; elsewhere a whole line every LINE_S seconds, so that logs stay readable.

    Args:
        total, initial: number of steps, and how many of them a resumed job has already done.
        name: of the job, such as "RA sr 0.001 resnet18 seed0".
        images: images per step, to show images/s; 0 shows ``unit``/s.
        epochs: number of epochs; 0 shows none.
        shown: False in all but one of the processes that share a training.
    """

    disable: bool

    def __init__(
        self, items=None, total=None, *, name, images=0, epochs=0, shown=True, unit="step", **more
    ) -> None:
        self.name, self.images, self.epochs = name, images or 1, epochs
        self._terminal = sys.stderr.isatty()
        self._line, self._status, self._said = time.monotonic(), 0.0, -1
        folder, file = os.environ.get(FOLDER), f"{socket.gethostname()}-{os.getpid()}.status"
        self._file = Path(folder, file) if folder else None
        super().__init__(
            items,
            total=total,
            desc=name,
            unit="images" if images else unit,
            unit_scale=images or False,
            mininterval=0.5 if self._terminal else STATUS_S,
            dynamic_ncols=self._terminal,
            disable=not shown or (quiet() and not self._file),
            **more,
        )

    def display(self, msg=None, pos=None) -> None:
        """Called by tqdm at the start and at most every ``mininterval`` seconds."""
        now = time.monotonic()
        if self._file and now - self._status >= STATUS_S:
            self._status = now
            with contextlib.suppress(OSError):  # a full disk must not stop a training
                self._file.parent.mkdir(parents=True, exist_ok=True)
                # Not ra.files.atomic: once a second, with no need for an fsync.
                new = self._file.with_suffix(".new")
                new.write_text(f"{self.name}\n{self._state()}")
                new.replace(self._file)
        if self._terminal and not quiet():
            super().display(msg, pos)
        elif now - self._line >= LINE_S:
            self._say()

    def _say(self) -> None:
        if not quiet():
            self._line, self._said = time.monotonic(), self.n
            print(self.name, self._state(), sep="  ", file=sys.stderr, flush=True)

    def _state(self) -> str:
        """Percent or count, epoch, images/s, time left, losses."""
        shown, done = self.format_dict, self.n / self.total if self.total else 0
        rate = shown["rate"] or (self.n - self.initial) / max(shown["elapsed"], 1e-9)
        parts = [f"{int(100 * done):3d}%" if self.total else f"{self.n * self.images}"]
        if self.epochs:
            parts.append(f"epoch {min(self.epochs, int(done * self.epochs) + 1)}/{self.epochs}")
        if rate:
            parts.append(f"{rate * self.images:.4g} {self.unit}/s")
        if rate and self.total:
            parts.append(f"{tqdm.format_interval((self.total - self.n) / rate)} left")
        return "  ".join([*parts, *filter(None, [self.postfix])])

    def clear(self, nolock: bool = False) -> None:
        """Called by tqdm before ``Progress.write``: a log has no bar to erase."""
        if self._terminal and not quiet():
            super().clear(nolock)

    def close(self) -> None:
        if self.disable:
            return
        if self._file:
            with contextlib.suppress(OSError):
                self._file.unlink()
        if not self._terminal or quiet():
            if self.total and self.n >= self.total > self._said:
                self._say()
            self.disable = True  # tqdm's own ending is for terminals
        super().close()


def running(folder: Path) -> list[tuple[str, str]]:
    """(name, state) of each running job, sorted; files of dead jobs are removed."""
    found = []
    for path in folder.glob("*.status"):
        with contextlib.suppress(OSError):  # it ended just now
            name, _, state = path.read_text().partition("\n")
            if gone(path) or time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()
            else:
                found.append((name, state))
    return sorted(found)


def gone(path: Path) -> bool:
    """Whether the process of ``HOST-PID.*`` has ended; of another machine's nobody knows."""
    host, _, pid = path.stem.rpartition("-")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()
