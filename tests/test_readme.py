"""The README keeps its word: its examples run, its two commands are those of the Makefile."""

import re
from pathlib import Path

import pytest
from helpers import ROOT
from PIL import Image

from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

README = (ROOT / "README.md").read_text()
P = Path("results/embedded/sr/ra/l0.001/resnet18/seed0")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_python_examples_run(number, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "teal").save("photo.jpg")
    trained = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(P / "processor.safetensors", trained, {"kind": "processor", "task": "sr"})
    exec(compile(EXAMPLES[number], f"README example {number}", "exec"), {"PREPARED": prepared})


def test_there_is_an_example_of_everything_that_can_be_swapped():
    for registry in ("PROCESSORS", "TASKS", "OBJECTIVES"):
        assert any(f"@{registry}.register" in example for example in EXAMPLES)


def test_the_two_commands_are_the_makefiles_and_cis():
    makefile = (ROOT / "Makefile").read_text()
    for command in ("make results", "make test"):
        assert f"\n{command}\n" in README
        assert re.search(rf"^{command.split()[1]}:", makefile, re.M)
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("make test")


def test_the_table_is_the_last_committed_one():
    """Tables in the README are pasted from results/tables/*.md, with every row of the paper."""
    for title in ("No Processing", "Plain Processing", "RA Processing", "RA with Transformer"):
        assert README.count(f"| {title} ") >= 3
