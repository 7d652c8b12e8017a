"""Pastes tables that the workflow wrote into a page, between its `<!-- table NAME -->` marks.

python tools/paste.py results/bench docs/performance.md
python tools/paste.py results/tables README.md
python tools/paste.py results/analysis docs/analysis.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ra.files import write_text


def paste(page: str, tables: Path) -> str:
    """``page`` with every table that is NAME.md below ``tables``; the others stay as they are."""
    for name in re.findall(r"<!-- table (\w+) -->", page):
        for file in tables.rglob(f"{name}.md"):
            block = rf"(<!-- table {name} -->\n).*?(<!-- end -->)"
            text = "\n" + file.read_text(encoding="utf-8").strip() + "\n\n"
            page = re.sub(block, lambda m, t=text: m[1] + t + m[2], page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    tables, target = (Path(argument) for argument in sys.argv[1:])
    write_text(target, paste(target.read_text(encoding="utf-8"), tables))
