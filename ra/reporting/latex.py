"""Tables as LaTeX: booktabs, the best of each column in bold, intervals in small."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def to_latex(
    table: pd.DataFrame,
    decimals: int,
    bounds: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    bold: bool = True,
) -> str:
    r"""A ``tabular`` of ``table`` (index and columns are headings); needs \usepackage{booktabs}.

    Args:
        decimals: of every number.
        bounds: (lower, upper) limits of the intervals, shaped as ``table``.
        bold: set the largest value of each column in bold, ties included; with two index levels
            the largest of each group of the first, and a rule between groups.
    """
    levels = table.index.nlevels
    groups = table.index.get_level_values(0) if levels > 1 else pd.Index([""] * len(table))
    heads = [*map(str, table.index.names), *map(str, table.columns)]
    lines = [rf"\begin{{tabular}}{{{'l' * levels}{'r' * table.shape[1]}}}", r"\toprule"]
    lines += [" & ".join(map(escape, heads)) + r" \\", r"\midrule"]
    before = None
    for row, group in enumerate(groups):
        if row and group != before:
            lines.append(r"\midrule")
        names = table.index[row] if levels > 1 else (table.index[row],)
        cells = [
            "" if n == 0 and levels > 1 and group == before else escape(str(name))
            for n, name in enumerate(names)
        ]
        for column in range(table.shape[1]):
            value = table.iat[row, column]
            rivals = table.iloc[:, column][groups == group]
            text = _number(value, decimals)
            if bold and text == _number(rivals.max(), decimals) and text != "--":
                text = rf"\textbf{{{text}}}"
            if bounds and not pd.isna(value):
                low, high = (_number(part.iat[row, column], decimals) for part in bounds)
                text += rf" {{\scriptsize [{low}, {high}]}}"
            cells.append(text)
        lines.append(" & ".join(cells) + r" \\")
        before = group
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """``text`` with LaTeX's special characters made harmless."""
    return re.sub(r"[&%$#_{}\\~^]", lambda found: SPECIAL[found[0]], text)


def _number(value: object, decimals: int) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int | np.integer):
        return str(value)  # a count
    return "--" if pd.isna(value) else f"{value:.{decimals}f}"
