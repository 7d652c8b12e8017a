"""``ra watch``: how far the workflow is, and one line on the terminal for each running job."""

import contextlib
import re
import shutil
import sys
import time
from pathlib import Path

from tqdm import tqdm

from ra.progress import gone, running
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
            lines = [*workflows(folder), *lines] or [f"no job is running ({folder})"]
            if not sys.stdout.isatty():
                return print("\n".join(lines))
            columns, rows = shutil.get_terminal_size()
            if len(lines) >= rows:
                lines[rows - 2 :] = [f"... and {len(lines) - rows + 2} more"]
            shown = "".join(f"{line[: columns - 1]}\n" for line in lines)
            print("\x1b[H\x1b[2J" + shown, end="", flush=True)  # on a screen that is cleared
            time.sleep(EVERY_S)


def workflows(folder: Path) -> list[str]:
    """How many jobs of all are done, and about how long the others take.

    It stands in Snakemake's log; a workflow that starts notes where that is.
    """
    lines = []
    for note in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            if gone(note):
                note.unlink()
                continue
            text = Path(note.read_text()).read_text(errors="replace")
            steps = re.findall(r"^(\d+) of (\d+) steps", text, re.M)
            for done, total in steps[-1:] or re.findall(r"^total +(0?)(\d+)$", text, re.M):
                lines.append(f"{done or 0} of {total} jobs done")
                if done:
                    each = (time.time() - note.stat().st_mtime) / int(done)
                    left = tqdm.format_interval(each * (int(total) - int(done)))
                    lines[-1] += f", about {left} left"
    return lines
