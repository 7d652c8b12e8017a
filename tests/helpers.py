"""What tests of several modules share: a folder of images, and snakemake as a user runs it."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ra.data.prepare as cache

ROOT = Path(__file__).parents[1]
IMPORTED = ["snakemake.cli", "torch", "ra.config", "ra.evaluation.quality", "ra.tracking.run"]
IMPORTED += ["ra.training.objectives", "ra.data.splits"]
TINY_CLIP = {  # a model configuration of open_clip
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def load_tool(name: str):
    """The module tools/NAME.py; it finds its neighbours, as when it is run."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        spec.loader.exec_module(module)
    return module


def write_images(root: Path, classes=("a", "b", "c"), train=8, val=4, size=(24, 20)) -> Path:
    """A folder with train/ and val/: every class has its own colour, plus noise."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
                pixels[..., number % 3] += 120
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def write_photographs(root, count=20, folders=("", "2024/", "2024/June/")):
    """A folder of ``count`` images, some of them in folders; returns it."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = root / f"{folders[number % len(folders)]}{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    return root


def write_pairs(folder: Path, scale: int, size=(23, 20)) -> tuple[Path, Path]:
    """(targets, inputs) with train/ and val/, no classes: inputs of ``size``, as JPEG 2000; each
    target has every pixel of its input ``scale`` x ``scale`` times."""
    generator = np.random.default_rng(0)
    targets, inputs = folder / "photos", folder / "noisy"
    for split, count in (("train", 8), ("val", 4)):
        for root in (targets, inputs):
            (root / split).mkdir(parents=True)
        for index in range(count):
            small = generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            large = small.repeat(scale, 0).repeat(scale, 1)
            Image.fromarray(large).save(targets / split / f"{index}.png")
            Image.fromarray(small).save(inputs / split / f"{index}.jp2", irreversible=False)
    return targets, inputs


def write_recognizer(folder: Path, logits: int = 7) -> Path:
    """my_net.yaml, a recognizer without names of classes that answers noise in several ways."""
    import torch  # many tests do without

    from ra.models.architectures import build_recognizer

    torch.manual_seed(0)
    network = build_recognizer("mobilenet_v3_small", logits).classifier.eval()
    with torch.no_grad():
        network.classifier[3].weight.mul_(1e5)
        network.classifier[3].bias.sub_(network(torch.randn(64, 3, 32, 32)).mean(dim=0))
    torch.save(network.state_dict(), folder / "my_net.pth")
    content = f"{{arch: mobilenet_v3_small, num_classes: {logits}, state_dict: my_net.pth}}"
    (folder / "my_net.yaml").write_text(content)
    return folder / "my_net.yaml"


def digest(directory: Path) -> dict[str, bytes]:
    """The files of a prepared data set but its dataset.json."""
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.suffix != ".json"}


def interrupted(root: Path, out: Path, after: int, **options: object) -> None:
    """Leaves in ``out`` what `ra prepare` leaves when it is killed behind ``after`` files."""
    read, seen = cache._read, []

    def dies(item, **settings):
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(item)
        return read(item, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_read", dies)
        with pytest.raises(KeyboardInterrupt):
            cache.prepare(root, out, **options)


def write_evaluation(
    folder: Path,
    p_model: str,
    hits: dict[str, str],
    paths: list[str] | None = None,
    psnr: float = 20.0,
    **identity: object,
) -> Path:
    """evaluation.csv (its path is returned) and images.csv as `ra evaluate` writes them.

    ``hits`` gives each R's answers as a text of 0 and 1.
    """
    folder.mkdir(parents=True)
    count = len(next(iter(hits.values())))
    row = {"dataset": "d", "task": "sr", "p_model": p_model, "lambda": 0.1, "training_r": "r18"}
    if p_model in ("plain", "no_processing"):
        row |= {"lambda": 0.0, "training_r": "none"}
    row |= {"seed": 0, "evaluation_r": "r18", "metric": "top1", "value": 1, "n": count}
    row |= {"low": 0, "high": 2, **identity}
    pd.DataFrame([row]).to_csv(folder / "evaluation.csv", index=False)
    images = pd.DataFrame({"index": range(count), "label": 0, "psnr": psnr, "ssim": psnr / 50})
    for r, answers in hits.items():
        images[f"{r}:prediction"] = 1
        images[f"{r}:top1"] = [int(answer) for answer in answers]
    images["path"] = paths or [f"{number}.png" for number in range(count)]
    images.to_csv(folder / "images.csv", index=False)
    return folder / "evaluation.csv"


def snakemake(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """The workflow of this repository in ``folder``; its jobs are processes as ever."""
    return fork(snakemake_command(folder, *arguments), folder)


def snakemake_command(folder: Path, *arguments: object) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "2"]
    command += ["--workflow-profile", ROOT / "workflow/profiles/default", *arguments]
    return [str(part) for part in command]


def fork(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    """subprocess.run(command) of a snakemake: a fork of a process that has imported what every
    snakemake imports, which takes longer than a dry run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    words = command[command.index("snakemake") + 1 :]
    with tempfile.TemporaryDirectory() as place:
        streams = Path(place, "stdout"), Path(place, "stderr")
        process = context.Process(
            target=_run_snakemake, args=(words, folder, clean_environment(), *streams)
        )
        process.start()
        process.join()
        said = [path.read_text() for path in streams]
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def _run_snakemake(words, folder, environment, *streams):
    from snakemake.cli import main  # most tests do without

    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["snakemake", *words]
    main(words)


def clean_environment() -> dict[str, str]:
    """Ours, without what would direct tracking elsewhere."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RA_"))}


def planned(run: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs by rule, as a dry run counts them."""
    assert run.returncode == 0, run.stderr + run.stdout
    table = (run.stdout + run.stderr).split("Job stats:")[-1]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
