"""Whatever a user may hand over: it works, or it is one line, and what was there is still there.

Each row of a table is one case: `(how it is made, None or what the line says)`.
"""

import hashlib
import json
import os
import pickle
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, snakemake, write_images
from PIL import Image
from safetensors.torch import load_file, save_file

from ra.cli import main
from ra.config import load_config
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import load_processor, save_model
from ra.models.processors import build_processor

TINY = ["--device", "cpu", "--channels", "4", "--blocks", "1", "--epochs", "1"]
SIZES = ["--resize", "20", "--crop", "16"]


def run(capsys, *arguments) -> tuple[int, list[str]]:
    """Exit code of a command and its lines on stderr, without those of progress bars."""
    try:
        code = main([str(part) for part in arguments])
    except SystemExit as stopped:
        code = stopped.code
    said = re.split(r"[\r\n]", capsys.readouterr().err)
    return code, [line for line in said if line.strip() and not re.search(r" +\d+%  ", line)]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(capsys, message, kept: Path, *arguments) -> None:
    """The command ends with exactly one line that says ``message``; files in ``kept`` stay."""
    kept.mkdir(exist_ok=True)
    (kept / "earlier.csv").write_text("earlier results\n")
    before = digests(kept)
    code, lines = run(capsys, *arguments)
    assert code not in (0, None) and len(lines) == 1, lines
    assert re.match(r"ra [a-z-]+: error: ", lines[0]) and message in lines[0], lines
    after = digests(kept)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if re.search(r"(^|/)\.[^/]*\.\d+\.", name)], "half-written"


# Images: the middle one of a class of three is replaced by the case.


def save(path, mode="RGB", size=(24, 20), **options):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **options)


def truncated(path):
    save(path)
    path.write_bytes(path.read_bytes()[:-400])


def sixteen_bit(path):
    Image.fromarray(np.full((20, 24), 40000, np.uint16)).save(path)


def animated(path):
    frames = [Image.new("RGB", (24, 20), colour) for colour in ("red", "blue")]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(path, size=(20, 24), format="JPEG", exif=exif)


def bomb(path):
    """A PNG whose header promises 60,000 x 60,000 pixels."""
    save(path, format="PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(data)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def broken_header(path):
    """A TIFF whose directory points behind its end."""
    path.write_bytes(b"II*\0" + struct.pack("<I", 4_000_000_000) + bytes(40))


def forbidden(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/mem")  # opens, and cannot be read: also for root


IMAGES = {
    "truncated": (truncated, "x.png cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "x.png cannot be read: is not an image"),
    "noise": (noise, "x.png cannot be read: is not an image"),
    "text": (lambda path: path.write_text("<html>"), "x.png cannot be read: is not an image"),
    "broken header": (broken_header, "x.png cannot be read"),
    "unreadable": (forbidden, "x.png cannot be read: "),
    "decompression bomb": (bomb, "x.png has too many pixels to decode safely"),
    "needle": (lambda path: save(path, size=(1, 6_000_000)), "x.png is 1x6000000 px: too long"),
    "floats": (
        lambda path: Image.fromarray(np.ones((20, 24), np.float32)).save(path, "TIFF"),
        "x.png has floating-point pixels",
    ),
    "dangling link": (lambda path: path.symlink_to("/nowhere/x.png"), "x.png cannot be read"),
    "16-bit grey": (sixteen_bit, None),
    "16-bit TIFF": (
        lambda path: Image.fromarray(np.full((20, 24), 9, np.uint16)).save(path, "TIFF"),
        None,
    ),
    "CMYK": (lambda path: save(path, "CMYK", format="JPEG"), None),
    "palette": (lambda path: save(path, "P"), None),
    "1-bit": (lambda path: save(path, "1"), None),
    "alpha": (lambda path: save(path, "RGBA"), None),
    "animated": (animated, None),
    "1x1": (lambda path: save(path, size=(1, 1)), None),
    "EXIF-rotated": (rotated, None),
    "wrong extension": (lambda path: save(path, format="WEBP"), None),
}


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", ("a", "b"), train=2, val=1)


@pytest.mark.parametrize("case", IMAGES)
def test_images(photos, tmp_path, capsys, case):
    make, message = IMAGES[case]
    make(photos / "train/a/x.png")
    out = tmp_path / "out"
    command = ["prepare", "--data", photos, "--save-dir", out, *SIZES]
    if message:
        refused(capsys, message, out, *command)
        assert not (out / "dataset.json").exists()
        code, lines = run(capsys, *command, "--on-bad-image", "skip")
        assert code == 0 and any("skipped 1 bad images" in line for line in lines)
        assert message in "".join(lines)
    else:
        code, lines = run(capsys, *command)
        assert (code, lines) == (0, [])
        assert json.loads((out / "dataset.json").read_text())["images"] == {"train": 5, "val": 2}


def test_a_bad_image_is_one_line_from_a_loader_process_too(photos, tmp_path, capsys):
    noise(photos / "train/a/1.png")
    command = ["train", "--data", photos, "--task", "dn", "--l", "0", *TINY, *SIZES]
    for workers in ("0", "1"):
        out = tmp_path / workers
        refused(
            capsys, "train/a/1.png cannot be read: is not an image; mend or remove it",
            out, *command, "--save-dir", out, "--workers", workers,
        )  # fmt: skip


# Folders: each case changes a good one.


def is_a_file(root):
    shutil.rmtree(root)
    root.write_text("")


def loop(root):
    (root / "train/a/loop").symlink_to(root / "train")
    (root / "train/a/self").symlink_to(root / "train/a/self")


def renamed(name):
    def change(root):
        for split in ("train", "val"):
            (root / split / "a").rename(root / split / name)

    return change


FOLDERS = {
    "no folder": (shutil.rmtree, "photos: no such folder"),
    "a file": (is_a_file, "photos: no such folder"),
    "no val": (lambda root: shutil.rmtree(root / "val"), "photos/val: no such folder"),
    "a class is empty": (
        lambda root: [path.unlink() for path in (root / "train/a").iterdir()],
        "photos/train/a: no image in it",
    ),
    "nothing but text": (
        lambda root: [path.rename(path.with_suffix(".txt")) for path in root.rglob("*.png")],
        "photos/train/a: no image in it",
    ),
    "symlink loop": (loop, None),
    "class of shell code": (renamed("$(touch x); '"), None),
    "class with a line break": (renamed('a\nb,"c'), None),
    "class like a flag": (renamed("--version"), None),
    "class beyond ASCII": (renamed("Übergröße 猫"), None),
    "other files among the images": (
        lambda root: (root / "train/a/.DS_Store").write_text(""),
        None,
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(photos, tmp_path, capsys, case):
    change, message = FOLDERS[case]
    change(photos)
    out = tmp_path / "out"
    command = ["prepare", "--data", photos, "--save-dir", out, *SIZES]
    if message:
        refused(capsys, message, out, *command)
    else:
        assert run(capsys, *command) == (0, [])
        train = ["train", "--data", out, "--task", "dn", "--l", "0", *TINY, "--save-dir", out / "p"]
        assert run(capsys, *train) == (0, [])


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("val/b", "photos: in train/ but not in val/: b; add or remove them"),
        ("train/a", "photos: in val/ but not in train/: a; add or remove them"),
    ],
)
def test_a_recognizer_learns_classes_of_both_splits_only(
    photos, tmp_path, capsys, missing, message
):
    shutil.rmtree(photos / missing)
    assert run(capsys, "prepare", "--data", photos, "--save-dir", tmp_path / "data", *SIZES)[0] == 0
    out, arch = tmp_path / "out", ["--arch", "squeezenet1_1", *TINY[:2]]
    command = ["train-recognizer", *arch, "--save-dir", out, "--data"]
    refused(capsys, message, out, *command, photos, *SIZES)
    refused(capsys, message, out, *command, tmp_path / "data")


def test_what_needs_labels_says_so_where_there_are_none(photos, tmp_path, capsys):
    out, flat = tmp_path / "out", ["--data", photos, *SIZES, "--no-labels", "--save-dir"]
    message = (
        "photos: no labels, which objective ra needs; without: published, plain, ra_unsupervised"
    )
    refused(capsys, message, out, "train", "--task", "dn", "--mode", "ra", *flat, out)
    message = "photos: no labels, so no recognizer can be trained; use a pretrained one"
    refused(capsys, message, out, "train-recognizer", *flat, out)


# Model files: what is wrong with it, for P, T and R.


def shortened(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewritten(path, header=None, **tensors):
    """The same file with another header or other tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        known = json.loads(stored.metadata()["ra"])
    state = {**load_file(path), **tensors}
    save_file(state, path, metadata={"ra": json.dumps({**known, **(header or {})})})


class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


MODELS = {
    "missing": (lambda path: path.unlink(), "no such model file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "damaged, or not a safetensors file"),
    "empty": (lambda path: path.write_bytes(b""), "damaged, or not a safetensors file"),
    "truncated": (shortened, "damaged, or not a safetensors file"),
    "hostile pickle": (lambda path: path.write_bytes(pickle.dumps(Payload())), "damaged, or not"),
    "hostile torch.save": (lambda path: torch.save(Payload(), path), "try ra import-checkpoint"),
    "NaN weights": (
        lambda path: rewritten(path, **{first(path): load_file(path)[first(path)] * torch.nan}),
        "NaN or infinite weights in",
    ),
    "other class count or size": (
        lambda path: rewritten(path, **{first(path): load_file(path)[first(path)][:1]}),
        "do not fit the architecture in its header",
    ),
    "other architecture": (
        lambda path: rewritten(
            path, {"network": {"arch": "resnet81", "scale": 1, "logits": 3, "input_size": None}}
        ),
        "unknown",
    ),
    "no header": (
        lambda path: save_file({"x": torch.zeros(1)}, path),
        "safetensors without the header of ra",
    ),
    "a newer version's": (lambda path: rewritten(path, {"format": 9}), "which is newer; update ra"),
}


def first(path):
    return next(name for name, value in load_file(path).items() if value.is_floating_point())


@pytest.fixture(scope="module")
def models(tmp_path_factory, prepared):
    """A P and an R for the prepared images."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    header = {"task": "dn", "task_settings": {}, "objective": "plain", "lambda": 0.0, "seed": 0}
    header |= {"dataset": "tiny", "recognizer": "none"}
    save_model(folder / "p.safetensors", processor, {"kind": "processor", **header})
    classes = {"arch": "mobilenet_v3_small", "classes": ["a", "b", "c"]}
    recognizer = build_recognizer("mobilenet_v3_small", 3)
    save_model(folder / "r.safetensors", recognizer, {"kind": "recognizer", **classes})
    return folder


@pytest.mark.parametrize("kind", ["p", "r"])
@pytest.mark.parametrize("case", MODELS)
def test_model_files(prepared, models, tmp_path, capsys, monkeypatch, case, kind):
    monkeypatch.chdir(tmp_path)
    for name in ("p", "r"):
        shutil.copy(models / f"{name}.safetensors", tmp_path)
    change, message = MODELS[case]
    change(tmp_path / f"{kind}.safetensors")
    out = tmp_path / "out"
    command = ["evaluate", "--data", prepared, "--model-sr", tmp_path / "p.safetensors"]
    command += ["--recognizers", tmp_path / "r.safetensors", "--save-dir", out, "--device", "cpu"]
    refused(capsys, f"{kind}.safetensors: ", out, *command)
    refused(capsys, message, out, *command)
    assert not (tmp_path / "executed").exists()


def test_the_models_themselves_are_good(prepared, models, tmp_path, capsys):
    command = ["evaluate", "--data", prepared, "--model-sr", models / "p.safetensors"]
    command += ["--recognizers", models / "r.safetensors", "--save-dir", tmp_path]
    code, lines = run(capsys, *command, "--device", "cpu")
    assert code == 0 and (tmp_path / "evaluation.csv").exists(), lines


def test_a_model_with_nan_weights_is_never_written(tmp_path):
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    save_model(tmp_path / "p.safetensors", processor, {"kind": "processor"})
    with torch.no_grad():
        processor.block1[0].weight[0] = torch.inf
    with pytest.raises(
        UserError, match="p.safetensors: NaN or infinite weights in block1.0.weight"
    ):
        save_model(tmp_path / "p.safetensors", processor, {"kind": "processor"})
    assert load_processor(tmp_path / "p.safetensors")


@pytest.mark.parametrize(
    ("p", "r", "message"),
    [("r", "r", "r.safetensors: is a recognizer"), ("p", "p", "p.safetensors: is a processor")],
)
def test_p_and_r_are_told_apart(prepared, models, tmp_path, capsys, p, r, message):
    command = ["evaluate", "--data", prepared, "--model-sr", models / f"{p}.safetensors"]
    command += ["--recognizers", models / f"{r}.safetensors", "--save-dir", tmp_path / "out"]
    refused(capsys, message, tmp_path / "out", *command)


def test_two_recognizers_of_one_name(prepared, models, tmp_path, capsys):
    other = shutil.copy(models / "r.safetensors", tmp_path / "other.safetensors")
    command = ["evaluate", "--data", prepared, "--model-sr", models / "p.safetensors"]
    command += ["--recognizers", models / "r.safetensors", other, "--device", "cpu"]
    message = f"{models / 'r.safetensors'} and {other} are both called mobilenet_v3_small"
    refused(capsys, message, tmp_path / "out", *command, "--save-dir", tmp_path / "out")


def test_images_that_are_too_small_for_an_r(prepared, tmp_path, capsys):
    command = ["train-recognizer", "--data", prepared, "--arch", "squeezenet1_1", *TINY[:2]]
    message = "squeezenet1_1: cannot classify images of 16x16 px"
    refused(capsys, message, tmp_path / "out", *command, "--save-dir", tmp_path / "out")


def test_an_r_of_other_classes(prepared, models, tmp_path, capsys):
    rewritten(shutil.copy(models / "r.safetensors", tmp_path / "r.safetensors"), {"classes": ["a"]})
    command = ["train", "--data", prepared, "--recognizer", tmp_path / "r.safetensors", *TINY]
    message = "r.safetensors: knows 1 classes, which are not the 3"
    refused(capsys, message, tmp_path / "out", *command, "--save-dir", tmp_path / "out")


# What ra itself wrote, damaged afterwards.

LEFTOVERS = {
    "data/dataset.json": ("{", "dataset.json: not written by this 'ra prepare'"),
    "data/train.csv": ("path,label\n", "train.csv: "),
    "data/train.bin": ("short", "train.bin: "),
    "out/state.pt": ("PK", "state.pt: unreadable resume state"),
    "out/run.json": ("{", None),
}


@pytest.mark.parametrize("name", LEFTOVERS)
def test_damaged_files_of_our_own(prepared, tmp_path, capsys, name):
    content, message = LEFTOVERS[name]
    shutil.copytree(prepared, tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / name).write_text(content)
    out = tmp_path / "out"
    command = ["train", "--data", tmp_path / "data", "--task", "dn", "--l", "0", *TINY]
    if message:
        refused(capsys, message, out, *command, "--save-dir", out)
    else:
        assert run(capsys, *command, "--save-dir", out) == (0, [])


# Command lines.

TRAIN = ["train", "--data", "DATA", "--save-dir", "OUT", "--task", "dn", "--l", "0", *TINY]
COMMANDS = [
    ([], "the following arguments are required: COMMAND"),
    (["trian"], "unknown command 'trian'; nearest: train"),
    (["train", "--data", "DATA"], "--save-dir: needed"),
    ([*TRAIN, "--bogus"], "unrecognized arguments: --bogus"),
    ([*TRAIN, "--epochs", "two"], "--epochs: 'two' should be a valid integer"),
    ([*TRAIN, "--mode", "published"], "--mode published: trains nothing; give --sr-arch"),
    ([*TRAIN, "--sr-arch", "spandrel:nowhere.pth"], "spandrel:nowhere.pth: no such file"),
    ([*TRAIN, "--sr-arch", f"spandrel:{__file__}"], "has no setting channels"),
    ([*TRAIN, "--init", "FILE"], "FILE: damaged, or "),
    ([*TRAIN, "--epochs", "0"], "epochs"),
    ([*TRAIN, "--batch-size", "0"], "--batch-size"),
    ([*TRAIN, "--lr", "nan"], "lr"),
    ([*TRAIN, "--lr", "inf"], "lr"),
    ([*TRAIN, "--lr-gamma", "nan"], "--lr-gamma"),
    ([*TRAIN, "--warmup", "-1"], "warmup"),
    ([*TRAIN, "--weight-decay", "-1"], "--weight-decay"),
    ([*TRAIN, "--l", "nan"], "--l: 'nan' should be a finite number"),
    ([*TRAIN, "--l", "inf"], "--l: 'inf' should be a finite number"),
    ([*TRAIN, "--seed", "-1"], "seed"),
    ([*TRAIN, "--workers", "-1"], "workers"),
    ([*TRAIN, "--threads", "-1"], "threads"),
    ([*TRAIN, "--jobs-per-gpu", "0"], "jobs-per-gpu"),
    ([*TRAIN, "--checkpoint-seconds", "nan"], "--checkpoint-seconds"),
    ([*TRAIN, "--channels", "0"], "channels: '0' should be greater than or equal to 1"),
    ([*TRAIN, "--sigma", "nan"], "--sigma: 'nan' should be a finite number"),
    ([*TRAIN, "--quality", "5"], "quality: task dn has no such setting"),
    ([*TRAIN, "--device", "cuda:x"], "device: 'cuda:x'"),
    ([*TRAIN, "--data", "DATA/nowhere"], "nowhere: no such folder"),
    ([*TRAIN, "--save-dir", "/proc/nowhere"], "/proc/nowhere: "),
    ([*TRAIN, "--save-dir", "FILE/below"], "FILE/below: Not a directory"),
    (["prepare", "--data", "DATA", "--save-dir", "OUT", "--crop", "0"], "crop"),
    (["prepare", "--data", "DATA", "--save-dir", "OUT", "--resize", "-3"], "resize"),
    (["evaluate", "--data", "DATA", "--model-sr", "none", "--task", "dn", "--save-dir", "OUT",
      "--recognizers", "resnet81"], "unknown recognizer 'resnet81'"),
    (["table", "--evaluations", "FILE", "--save-dir", "OUT"], "FILE: "),
    (["import-checkpoint", "FILE", "--task", "sr", "--save-dir", "OUT"], "FILE: "),
    (["train-recognizer", "--data", "DATA", "--save-dir", "OUT", "--classes", "FILE",
      "--weights", "scratch", "--epochs", "0"], "epochs"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), COMMANDS, ids=lambda part: str(part)[-40:])
def test_command_lines(prepared, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("just text\n")
    places = {"DATA": prepared, "OUT": tmp_path / "out", "FILE": tmp_path / "file"}

    def place(text):
        for name, path in places.items():
            text = re.sub(rf"^{name}(?=/|$|:)", str(path), text)
        return text

    kept = tmp_path / "out"
    kept.mkdir()
    (kept / "earlier.csv").write_text("earlier results\n")
    code, lines = run(capsys, *map(place, arguments))
    assert code not in (0, None) and len(lines) == 1, lines
    assert lines[0].startswith("ra") and place(message) in lines[0], lines
    assert digests(kept).keys() <= {"earlier.csv", ".lock"}


# The configuration; more of its mistakes are in test_config.py.

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
CONFIGS = [
    ({"images": [1]}, "config key images: "),
    ({"images": None}, "config key images: "),
    ({"data": ""}, "config key data: "),
    ({"data": 5}, "config key data: "),
    ({"dataset": "a/b"}, "config key dataset: "),
    ({"dataset": ".."}, "config key dataset: "),
    ({"seeds": [0, 0]}, "config key seeds: "),
    ({"seeds": [-1]}, "config key seeds.0: -1"),
    ({"seeds": 3}, "config key seeds: "),
    ({"objectives": {"ra": float("nan")}}, "config key objectives.ra: "),
    ({"objectives": {"ra": float("inf")}}, "config key objectives.ra: "),
    ({"objectives": {"ra": "much"}}, "config key objectives.ra: "),
    ({"objectives": {"ra": [0.1, 0.1]}}, "config key objectives.ra: "),
    ({"tasks": {"dn": {"sigma": "0.1x"}}}, "config key tasks.dn.sigma: "),
    ({"tasks": ["sr"]}, "config key tasks: "),
    ({"recognizers": {"train": [], "evaluate": ["a"]}}, "config key recognizers.train: "),
    ({"recognizers": {"train": "resnet18", "evaluate": ["a"]}}, "config key recognizers.train: "),
    ({"processor": {"schedule": {"lr": float("nan")}}}, "config key processor.schedule.lr: "),
    ({"processor": {"channels": 0}}, "config key processor.channels: 0"),
    ({"processor": {"init": "no.pth"}}, "config key processor.init: Path does not point to a file"),
    ({"processor": {"arch": "spandrel:no.pth"}}, "config key processor.arch: spandrel:no.pth: no "),
    ({"processor": {"arch": f"spandrel:{__file__}", "blocks": 1}}, "has no setting blocks"),
    ({"transformer": {"arch": "spandrel:no.pth"}}, "unknown architecture 'spandrel:no.pth'"),
    ({"objectives": {"published": 0}}, "config key objectives.published: needs processor.arch"),
    ({"runtime": {"threads": 0}}, "config key runtime.threads: 0"),
    ({"runtime": {"workers": 1.5}}, "config key runtime.workers: 1.5"),
    ({"tracking": {"enabled": "perhaps"}}, "config key tracking.enabled: "),
]


@pytest.mark.parametrize(("keys", "message"), CONFIGS, ids=str)
def test_configs(keys, message):
    with pytest.raises(UserError) as caught:
        load_config({**DEFAULT, **keys})
    said = str(caught.value)
    assert message in said and "\n" not in said and len(said) < 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [unclosed\n", "config.yaml, line 2: not valid YAML"),
        (
            "data: !!python/object/apply:os.system ['touch executed']\n",
            "config.yaml, line 1: not valid YAML",
        ),
        ("- a list\n", "config.yaml: not a mapping"),
        ("", "config.yaml: not a mapping"),
        ("data: x\n", "config key recognizers: missing"),
    ],
)
def test_config_files_that_are_none(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    done = snakemake(tmp_path, "--dry-run")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and message in said, said
    assert not (tmp_path / "executed").exists() and not (tmp_path / "results").exists()
