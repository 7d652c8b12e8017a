"""Pastes the tables of `ra bench` into docs/performance.md, between `<!-- table NAME -->` marks.

python docs/paste.py results/bench
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ra.files import write_text

PAGE = Path(__file__).parent / "performance.md"


def paste(page: str, tables: Path) -> str:
    """``page`` with every table that ``tables`` has as NAME.md; the others stay as they are."""
    for name in re.findall(r"<!-- table (\w+) -->", page):
        file = tables / f"{name}.md"
        if file.exists():
            block = rf"(<!-- table {name} -->\n).*?(<!-- end -->)"
            text = "\n" + file.read_text(encoding="utf-8").strip() + "\n\n"
            page = re.sub(block, lambda m, t=text: m[1] + t + m[2], page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    write_text(PAGE, paste(PAGE.read_text(encoding="utf-8"), Path(sys.argv[1])))
