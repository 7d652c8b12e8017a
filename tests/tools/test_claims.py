"""Figures in the prose are those of the tables."""

import pytest
from helpers import load_tool

PAGE = """RA has +9.3<!-- sr["RA", "A"] - sr["Plain", "A"] --> points, 77.9 %<!-- sr["RA", "A"] -->.
<!-- table sr 0123456789ab -->

| P Model          |   A | B-1 |
|:-----------------|----:|----:|
| Plain Processing | 68.6 [60, 70] | |
| RA Processing    | 77.9 | |

<!-- end -->
"""


@pytest.fixture(scope="module")
def tool():
    return load_tool("claims")


@pytest.fixture(scope="module")
def pages(tool):
    return {page.name: page.read_text() for page in tool.PAGES}


def test_claims_that_are_right_pass(tool):
    assert tool.wrong(PAGE, tool.tables({"page": PAGE})) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("+9.3<", "+9.4<", r"+9.4: sr["),
        ('["RA", "A"] -->.', '["Rb", "A"] -->.', "0 rows"),
        ('["RA", "A"] -->.', '["RA", "C"] -->.', "0 columns"),
        ('sr["RA", "A"] -->.', 'dn["RA", "A"] -->.', "'dn'"),
    ],
)
def test_a_wrong_claim_is_named(tool, old, new, message):
    page = PAGE.replace(old, new)
    (error,) = tool.wrong(page, tool.tables({"page": page}))
    assert message in error


def test_a_figure_without_a_source_is_found(tool):
    assert tool.unsourced(PAGE) == []
    assert tool.unsourced("sigma 0.1, +3.5 points, `+1.0`, 7.5 %\nand -2.0") == [
        "+3.5",
        "7.5",
        "-2.0",
    ]


def test_the_claims_of_all_pages_are_those_of_their_tables(tool, pages):
    known = tool.tables(pages)
    assert [error for text in pages.values() for error in tool.wrong(text, known)] == []


@pytest.mark.parametrize("page", ["README.md", "analysis.md", "evidence.md"])
def test_every_figure_has_a_source(tool, pages, page):
    assert tool.unsourced(pages[page]) == []
