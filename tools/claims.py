"""Checks the figures in the prose of README.md and docs/ against the tables on those pages.

    python tools/claims.py

A writer names the source of a figure in a comment behind it, which readers do not see:

    RA gains +9.3<!-- sr["RA", "ResNet-18"] - sr["Plain", "ResNet-18"] --> points

It holds a Python expression. NAME[cell, ..., column] is the number in ``column`` of the row of
table NAME that has these cells; NAME.all(cell, ..., column) lists those of several rows. The
beginning of a cell or of a column's head is enough where no other is just so. Tables are those of
tools/paste.py; ``NAME_2`` is the second of a file.
"""

from __future__ import annotations

import re
import sys

from paste import MARK, PAGES

NUMBER = r"[+-]?\d+(?:\.\d+)?"
CLAIM = re.compile(rf"({NUMBER})(?: ?%)?<!-- (.+?) -->", re.DOTALL)
# Figures that need a source: signed or with a unit. Others are settings, dates and names.
FIGURE = re.compile(r"(?:(?<![\w.^-])[+-]\d+\.\d+|\b\d+\.\d+(?=\s(?:%|points|dB)))(?!\d| ?%?<!--)")
NO_PROSE = re.compile(r"```.*?```|`[^`\n]*`|<!-- table .*?<!-- end -->|^\|.*?$", re.DOTALL | re.M)


class Table:
    """A Markdown table; see the top of this file."""

    def __init__(self, text: str) -> None:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith("|") and not line.startswith("|:")
        ]
        self.head, self.rows = rows[0], rows[1:]

    def all(self, *cells: str) -> list[float]:
        """Numbers in the last of ``cells``, a column, of the rows that have the others."""
        *wanted, column = cells
        places = _like(self.head, column)
        if len(places) != 1:
            raise LookupError(f"{column}: {len(places)} columns begin so")
        rows = self.rows
        for cell in wanted:  # where some cell is just so, its beginning elsewhere does not count
            exact = any(cell in row for row in self.rows)
            rows = [row for row in rows if (cell in row if exact else _like(row, cell))]
        found = [row[places[0]] for row in rows]
        return [float(re.match(NUMBER, cell)[0]) for cell in found if re.match(NUMBER, cell)]

    def __getitem__(self, cells: tuple[str, ...]) -> float:
        values = self.all(*cells)
        if len(values) != 1:
            raise LookupError(f"{', '.join(cells)}: {len(values)} rows")
        return values[0]


def _like(texts: list[str], wanted: str) -> list[int]:
    same = [place for place, text in enumerate(texts) if text == wanted]
    return same or [place for place, text in enumerate(texts) if text.startswith(wanted)]


def tables(pages: dict[str, str]) -> dict[str, Table]:
    """Every pasted table of the pages, by name."""
    found = {}
    for text in pages.values():
        for mark in MARK.finditer(text):
            name = f"{mark['name']}_{mark['part']}" if mark["part"] else mark["name"]
            found[name] = Table(mark["text"])
    return found


def wrong(page: str, known: dict[str, Table]) -> list[str]:
    """Claims of a page that its tables do not bear out, and why."""
    errors = []
    for shown, source in CLAIM.findall(MARK.sub("", page)):
        try:
            value = float(eval(source, dict(known)))  # our own pages
        except Exception as error:
            errors.append(f"{shown}: {source}: {error}")
            continue
        decimals = len(shown.partition(".")[2])
        right = f"{value:{'+' if shown[0] in '+-' else ''}.{decimals}f}"
        if right != shown:
            errors.append(f"{shown}: {source} is {right}")
    return errors


def unsourced(page: str) -> list[str]:
    """Figures in the prose of a page that name no source."""
    return [found[0] for found in FIGURE.finditer(NO_PROSE.sub("", page))]


def main() -> int:
    """1 where a claim is wrong, else 0."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    known = tables(pages)
    errors = [f"{name}: {one}" for name, text in pages.items() for one in wrong(text, known)]
    print("\n".join(errors) or "every claim is that of its table")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
