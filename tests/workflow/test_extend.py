"""docs/extend.md walked through as by a reader: files in an empty folder, a config, snakemake."""

import json
import os
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from helpers import ROOT, clean_environment, snakemake, write_images
from safetensors import safe_open

PAGE = (ROOT / "docs/extend.md").read_text()
FILES = dict(re.findall(r"`(\w+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", PAGE, re.S))


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    place = tmp_path_factory.mktemp("extend")
    for name, text in FILES.items():
        (place / name).write_text(text)
    write_images(place / "photos")
    done = snakemake(place)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return place


def ra(folder, *words):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "ra", *map(str, words)],
        cwd=folder,
        env={**clean_environment(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_the_page_has_a_file_for_every_socket():
    assert len(FILES) >= 5 and "config.yaml" in FILES


def test_the_tables_have_the_new_rows_and_columns(walked):
    tables = walked / "results/tables"
    rows = pd.read_csv(tables / "salt.csv").iloc[:, 0].astype(str)
    for title in ("Plain", "RA, smoothed labels", "RA with joint transformer"):
        assert rows.str.contains(title).any(), rows
    assert "Edge error" in pd.read_csv(tables / "quality.csv").columns


def test_models_hold_the_settings_and_need_the_plugin(walked):
    smooth = walked / "results/photos/salt/ra_smooth/l0.001/squeezenet1_1/seed0"
    with safe_open(smooth / "processor.safetensors", framework="pt") as stored:
        header = json.loads(stored.metadata()["ra"])
    assert header["task_settings"] == {"share": 0.05}
    assert header["settings"]["smoothing"] == 0.2
    assert header["network"] == {"arch": "sharpen", "scale": 1, "channels": 4}
    joint = walked / "results/photos/salt/ra_joint/l0.001/squeezenet1_1/seed0"
    assert (joint / "transformer.safetensors").exists()
    words = ["process", "--model", smooth, walked / "photos/val/a/0.png", walked / "out.png"]
    without = ra(walked, *words)
    assert without.returncode == 1 and len(without.stderr.strip().splitlines()) == 1
    assert "made with" in without.stderr and "name that with --plugins" in without.stderr
    plugins = [name for name in FILES if name.endswith(".py")]
    assert ra(walked, *words, "--plugins", *plugins).returncode == 0


def test_the_single_command_of_the_page_trains(walked):
    (line,) = re.findall(r"^ra (train .*?)\n```", PAGE, re.S | re.M)
    done = ra(walked, *shlex.split(line.replace("\\\n", " ")), "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (walked / "out/salt/processor.safetensors").exists()
