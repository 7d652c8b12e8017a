"""Tables are pasted with the digest of what made them, and a page with old ones is named."""

import shutil

import pytest
from helpers import ROOT, load_tool

PAGE = "# Page\n<!-- table sr -->\n\nold\n<!-- end -->\ntext\n<!-- table two 2 -->\n<!-- end -->\n"
STAMP = "0123456789ab"


@pytest.fixture(scope="module")
def tool():
    return load_tool("paste")


@pytest.fixture
def results(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "analysis/deep").mkdir(parents=True)
    (tmp_path / "tables/sr.md").write_text("| a |\n|---|\n| 1 |\n")
    (tmp_path / "analysis/deep/two.md").write_text("First:\n\n| b |\n\nSecond:\n\n| c |\n| 2 |\n")
    return tmp_path


def test_tables_are_pasted_with_the_digest(tool, results):
    page, missing = tool.paste(PAGE, results, STAMP)
    assert missing == []
    assert f"<!-- table sr {STAMP} -->\n\n| a |\n|---|\n| 1 |\n\n<!-- end -->\ntext" in page
    assert f"<!-- table two 2 {STAMP} -->\n\n| c |\n| 2 |\n\n<!-- end -->" in page
    assert tool.paste(page, results, STAMP) == (page, [])


def test_a_page_with_tables_of_other_code_or_none_is_stale(tool, results):
    page, _ = tool.paste(PAGE, results, STAMP)
    assert tool.stale(page, STAMP) == []
    assert tool.stale(page, "f" * 12) == ["sr", "two"]
    assert tool.stale(PAGE, STAMP) == ["sr", "two"]


def test_a_table_of_an_earlier_commit_says_so_until_it_is_pasted(tool, results):
    old = "<!-- table sr at 41a560e -->\n{}| x |\n<!-- end -->"
    dated = old.format("*Measured at commit 41a560e.*\n\n")
    assert tool.stale(old.format(""), STAMP) == ["sr"] and tool.stale(dated, STAMP) == []
    page, _ = tool.paste(dated, results, STAMP)
    assert f"table sr {STAMP}" in page and "Measured" not in page


def test_a_missing_table_is_named_and_the_page_keeps_its_own(tool, results):
    (results / "tables/sr.md").unlink()
    page, missing = tool.paste(PAGE, results, STAMP)
    assert missing == ["sr"] and "old" in page and STAMP in page
    dated = PAGE.replace("table sr", "table sr at 41a560e")  # of another experiment, perhaps
    assert tool.paste(dated, results, STAMP)[1] == []


def test_the_digest_follows_config_and_pinned_numbers_only(tool, tmp_path):
    (tmp_path / "tests/deep").mkdir(parents=True)
    pinned = tmp_path / "tests/deep/test_pinned.py"
    shutil.copy(ROOT / "config.yaml", tmp_path)
    pinned.write_text("def test_a():\n    assert 1.5 == f('0123456789abcdef')\n")
    first = tool.digest(tmp_path)
    pinned.write_text("# moved\ndef test_b():\n    assert 1.5 == g('0123456789abcdef'), 'text'\n")
    (tmp_path / "config.yaml").write_text("# new\n" + (ROOT / "config.yaml").read_text())
    assert tool.digest(tmp_path) == first
    pinned.write_text("def test_a():\n    assert 1.6 == f('0123456789abcdef')\n")
    changed = tool.digest(tmp_path)
    assert changed != first
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text() + "seeds: [1]\n")
    assert tool.digest(tmp_path) not in (first, changed)


def test_figures_of_the_run_are_copied_and_others_stay(tool, tmp_path):
    results, docs = tmp_path / "results", tmp_path / "docs"
    for name, source in tool.FIGURES.items():
        (results / source).parent.mkdir(parents=True, exist_ok=True)
        (results / source).write_text(f"new {name}")
    docs.mkdir()
    (results / tool.FIGURES["lambdas.png"]).unlink()
    (docs / "lambdas.png").write_text("earlier")
    tool.copy_figures(results, docs)
    assert (docs / "strip.png").read_text() == "new strip.png"
    assert (docs / "lambdas.png").read_text() == "earlier"
