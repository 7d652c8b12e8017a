"""The README keeps its word: its examples run, its commands are those of the default experiment."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import ROOT
from PIL import Image

from ra.cli import main
from ra.cli.parser import parse
from ra.data import embedded
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor

README = (ROOT / "README.md").read_text()
EMBEDDED = "results/embedded"
MODEL = f"{EMBEDDED}/sr/ra/l0.0005/resnet18/seed0/processor.safetensors"
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_python_examples_run(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "teal").save("photo.jpg")
    trained = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(tmp_path / MODEL, trained, {"kind": "processor", "task": "sr"})
    exec(compile(EXAMPLES[number], f"README example {number}", "exec"), {})
    assert Image.open("photo_x4.png").size == (32, 32)


def test_the_first_screen_has_what_a_stranger_needs():
    first = "\n".join(README.splitlines()[:30])
    for part in (
        "docs/first.png",
        "git clone",
        "make results",
        "```python",
        "@article",
        "never run",
    ):
        assert part in first, f"{part} is not in the first 30 lines"


def test_the_two_commands_are_the_makefiles_and_cis():
    makefile = (ROOT / "Makefile").read_text()
    for command in ("make results", "make test"):
        assert f"\n{command}\n" in README
        assert re.search(rf"^{command.split()[1]}:", makefile, re.M)
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("make test")


@pytest.mark.parametrize("installs", [True, False])
def test_make_test_installs_a_browser_where_it_can_and_goes_on_where_not(tmp_path, installs):
    """As root on a Debian without a browser; `id`, `grep` and `apt-get` are not the real ones."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("bin", ".venv"):
        (tmp_path / name).mkdir()
    for name in ("sh", "touch", "timeout", "cp"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    install = 'echo "$@"; case "$*" in *install*) cp bin/id bin/chromedriver;; esac'
    fakes = {"id": "echo 0", "grep": "exit 0", "apt-get": install if installs else "exit 100"}
    for name, does in fakes.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    command, only = [shutil.which("make"), ".venv/.browser"], {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(command, cwd=tmp_path, env=only, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / ".venv/.browser").exists(), done.stderr
    said = (
        "Tests in a browser are skipped. On Debian: sudo apt-get install chromium chromium-driver"
    )
    assert (said in done.stdout) is not installs
    log = (tmp_path / ".venv/browser.log").read_text()
    assert ("install --no-install-recommends chromium chromium-driver\n" in log) is installs
    assert ".venv/.browser" in re.search(r"^test:.*", (ROOT / "Makefile").read_text(), re.M)[0]


def test_the_environment_is_activated_before_its_commands():
    lines = README.splitlines()
    first = next(n for n, line in enumerate(lines) if re.match(r"(ra|snakemake) ", line))
    assert ". .venv/bin/activate" in lines[:first]


def test_single_commands_have_the_settings_of_the_default_experiment():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    text = README.replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line.startswith("ra ")]
    prepare, recognizer, train = (
        parse(next(words[1:] for words in lines if words[1] == command))[1]
        for command in ("prepare", "train-recognizer", "train")
    )
    assert (prepare.resize, prepare.crop) == tuple(config["images"].values())
    for key, value in config["recognizers"]["schedule"].items():
        assert getattr(recognizer.schedule, key) == value, key
    for key, value in config["processor"]["schedule"].items():
        assert getattr(train.schedule, key) == value, key
    for key in ("channels", "blocks"):
        assert train.processor_settings[key] == str(config["processor"][key])
    assert train.weight == config["objectives"]["ra"]["lambda"]["sr"]


def test_commands_run_one_after_the_other_as_they_are_pasted(tmp_path, monkeypatch):
    """With a few tiles of three photographs; `make results` trains what the last two need."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "PHOTOGRAPHS", embedded.PHOTOGRAPHS[:3])
    monkeypatch.setattr(embedded, "CAPS", dict.fromkeys(embedded.CAPS, 6))
    trained = build_processor("SRResNet", scale=4, channels=4, blocks=1)
    save_model(tmp_path / MODEL, trained, {"kind": "processor", "task": "sr"})
    for name in ("photo.jpg", "photos/in/one.png", f"{EMBEDDED}/data/images/val/coffee/120.png"):
        photo = tmp_path / name
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), "teal").save(photo)
    trained = tmp_path / EMBEDDED / "recognizers/densenet121/recognizer.safetensors"
    trained.parent.mkdir(parents=True)
    trained.symlink_to(tmp_path / "out/resnet18/recognizer.safetensors")
    lines = [x for x in README.replace("\\\n", " ").splitlines() if x.startswith("ra ")]
    assert len(lines) == 7
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    table = pd.read_csv("out/tables/sr.csv", index_col=0)
    assert "RA Processing" in table.index and table.notna().all(axis=None)
    assert {path.name for path in Path("restored").rglob("*.*g")} == {"photo.png", "one.png"}


def test_tables_have_every_row_of_the_paper():
    for title in ("No Processing", "Plain Processing", "RA Processing", "RA with Transformer"):
        assert README.count(f"| {title} ") >= 3
