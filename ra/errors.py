"""The exception for a user's mistake, and one line for everything else that can end a job."""

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can correct: the message names the file or key and says what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a registry; offers the nearest names that are."""
    known = sorted(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.5)
    offer = [by_lower[candidate] for candidate in near] or known[:12]
    word = "nearest" if near else "known"
    return UserError(f"unknown {kind} {name!r}; {word}: {', '.join(offer)}")


def first_line(error: BaseException) -> str:
    """What another library's ``error`` says, short enough to stand in a message of ours."""
    return f"{type(error).__name__}: {error}".strip().split("\n")[0].rstrip(": ")[:160]


ADVICE = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "check the permissions, or choose another folder",
    errno.EPERM: "check the permissions, or choose another folder",
    errno.EMFILE: "raise the limit (ulimit -n) or lower --workers",
}


def one_line(error: BaseException) -> str | None:
    """``error`` for the user, on one line; None for a bug of this program.

    Limits of the machine (disk, permissions, memory) are not bugs, and a traceback would add
    nothing to the name of the file.
    """
    text = str(error)
    if isinstance(error, UserError):
        # An error in a loader process has that process's traceback before it.
        cause = text.rpartition("UserError: ")[2] if "Original Traceback" in text else text
        return " ".join(cause.split("\n")).strip()
    if isinstance(error, OSError):
        what = error.strerror or text or type(error).__name__
        line = f"{error.filename}: {what}" if error.filename else what
        return f"{line}; {ADVICE[error.errno]}" if error.errno in ADVICE else line
    if isinstance(error, MemoryError) or _out_of_memory(error):
        return (
            "out of memory; choose a smaller --batch-size, fewer --workers or fewer jobs at once, "
            "then run the same command again"
        )
    if isinstance(error, ValueError) and "Expected more than 1 value per channel" in text:
        return (
            "batch norm needs more than one value per channel: choose a --batch-size above 1, "
            "larger images or more of them"
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return (
            f"a loader process is gone ({text.splitlines()[0]}), as when memory runs out; choose "
            "fewer --workers, then run the same command again"
        )
    return None


def _out_of_memory(error: BaseException) -> bool:
    """torch has a class for a GPU out of memory, but only words for the CPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    words = ("DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough memory")
    return "OutOfMemoryError" in names or any(word in str(error) for word in words)
