"""Pastes the tables of a finished run into README.md and docs/, and copies its figures.

    python tools/paste.py [RESULTS]

A page marks the place of a table with ``<!-- table NAME -->`` and ``<!-- end -->``. NAME.md is
looked for in RESULTS/tables and RESULTS/analysis; ``NAME 2`` is the second table of that file. The
tool adds to the mark the digest of what made the numbers. When that changes, tests/test_docs.py
names the page: run the experiment and this tool again, then read the text around the tables.
``<!-- table NAME at COMMIT -->`` is a table of an earlier commit, which the
page names below the mark.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import yaml

from ra.files import write_text

ROOT = Path(__file__).parents[1]
# Figures of docs/, and the files of a run that they are copies of.
FIGURES = {
    "strip.png": "embedded/sr/ra/l0.0005/resnet18/seed0/strip.png",
    "lambdas.png": "analysis/lambdas.png",
    "kinds.png": "analysis/kinds.png",
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARK = re.compile(
    r"<!-- table (?P<name>\w+)(?: (?P<part>\d))?"
    r"(?: (?P<digest>[0-9a-f]{12})| at (?P<commit>[0-9a-f]{7}))? -->\n"
    r"(?P<text>.*?)<!-- end -->",
    re.DOTALL,
)


def digest(root: Path = ROOT) -> str:
    """Of the default config, and of the numbers that tests/**/test_pinned*.py expect of the code.

    Comments, the order of keys and the code of those tests do not count.
    """
    made = [yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))]
    for file in sorted((root / "tests").rglob("test_pinned*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        made += [repr(one) for one in values if _is_pinned(one)]
    text = json.dumps(made, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_pinned(value: object) -> bool:
    return isinstance(value, int | float) or bool(re.fullmatch(r"[0-9a-f]{16}", str(value)))


def paste(page: str, results: Path, stamp: str) -> tuple[str, list[str]]:
    """(``page`` with its tables from ``results``, the names of those that are not there)."""
    missing = []

    def fill(mark: re.Match) -> str:
        name, part = mark["name"], mark["part"]
        files = [f for room in ("tables", "analysis") for f in (results / room).rglob(f"{name}.md")]
        blocks = re.findall(r"(?:^\|.*\n?)+", files[0].read_text("utf-8"), re.M) if files else []
        position = int(part or 1) - 1
        if len(blocks) <= position:
            if not mark["commit"]:  # that of an earlier run may be of another experiment
                missing.append(f"{name} {part}" if part else name)
            return mark[0]
        head = f"<!-- table {name}{f' {part}' if part else ''} {stamp} -->"
        return f"{head}\n\n{blocks[position].strip()}\n\n<!-- end -->"

    return MARK.sub(fill, page), missing


def stale(page: str, stamp: str) -> list[str]:
    """Names of the tables in ``page`` that other code or another config made, without saying so."""
    return [
        mark["name"]
        for mark in MARK.finditer(page)
        if mark["digest"] != stamp
        and not (mark["commit"] and f"Measured at commit {mark['commit']}" in mark["text"])
    ]


def copy_figures(results: Path, docs: Path) -> None:
    """Copy those of FIGURES that ``results`` has."""
    for name, source in FIGURES.items():
        if (results / source).exists():
            shutil.copyfile(results / source, docs / name)


def main(results: Path) -> int:
    """Paste into every page, and copy figures; 1 where a table is missing, else 0."""
    copy_figures(results, ROOT / "docs")
    stamp, failed = digest(), 0
    for page in PAGES:
        text, missing = paste(page.read_text(encoding="utf-8"), results, stamp)
        if text != page.read_text(encoding="utf-8"):
            write_text(page, text)
        for name in missing:
            failed = 1
            print(f"{page.name}: {results} has no table {name}; run snakemake tables analysis")
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "results")))
