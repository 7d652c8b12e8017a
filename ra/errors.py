"""The one exception a user's mistake raises; the command line prints it as a single line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: its message names the file or key, and what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a registry; offers the nearest names that are."""
    known = sorted(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.5)
    offer = [by_lower[candidate] for candidate in near] or known[:12]
    word = "nearest" if near else "known"
    return UserError(f"unknown {kind} '{name}'; {word}: {', '.join(offer)}")
