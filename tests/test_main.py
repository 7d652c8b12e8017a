"""The process of ``ra``: mimalloc is its malloc where it is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ra.__main__ as command


@pytest.fixture
def starts(tmp_path, monkeypatch):
    """The (arguments, environment) of each process that takes the place of this one."""
    found = []
    monkeypatch.setattr(os, "execve", lambda path, *rest: found.append(rest))
    monkeypatch.setattr("ra.cli.main", lambda: 0)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ra", "train", "--l", "0"])
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    library = tmp_path / command.MIMALLOC
    library.parent.mkdir(parents=True)
    library.touch()
    return found


def test_the_command_starts_again_with_mimalloc(starts, tmp_path):
    assert command.run() == 0
    ((arguments, environment),) = starts
    assert arguments == [sys.executable, "-m", "ra", "train", "--l", "0"]
    assert environment["LD_PRELOAD"] == str(tmp_path / command.MIMALLOC)
    assert environment["MIMALLOC_PURGE_DELAY"] == "-1"
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("reason", ["set", "empty", "not installed", "macOS"])
def test_and_otherwise_goes_on_with_its_malloc(starts, tmp_path, monkeypatch, reason):
    if reason == "set":
        monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    elif reason == "empty":
        monkeypatch.setenv("LD_PRELOAD", "")
    elif reason == "macOS":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        (tmp_path / command.MIMALLOC).unlink()
    assert command.run() == 0 and starts == []


PASSES = """
import resource, sys
import ra.__main__, ra.cli

def passes():
    import torch
    for step in range(24):
        if step == 20:  # by then a freed piece is found that is large enough
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(2**24).fill_(1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(sum("libmimalloc" in line for line in open("/proc/self/maps")))

ra.cli.main = passes
ra.__main__.run()
"""


def test_freed_memory_is_used_again_where_mimalloc_is_installed():
    """Each page that the kernel clears is a minor fault; 64 MB are 16,384 pages."""
    installed = any((Path(folder) / command.MIMALLOC).exists() for folder in sys.path)
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    run = subprocess.run(
        [sys.executable, "-c", PASSES], capture_output=True, text=True, env=environment
    )
    faults, mapped = map(int, run.stdout.split())
    assert (faults < 16_384, mapped > 0) == (installed, installed), run.stderr


def test_the_lock_has_what_the_command_looks_for():
    root = Path(command.__file__).parents[1]
    for file in ("requirements.lock", "pyproject.toml"):
        assert "cmeel-mimalloc" in (root / file).read_text()
