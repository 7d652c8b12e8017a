"""Nobody is let in: no pickle is executed, no shell reads a name, no secret is written down."""

import ast
import os
import pickle
import re
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT, snakemake, write_images

from ra.cli import main
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor
from ra.tracking import run as tracking

SOURCES = sorted((ROOT / "ra").rglob("*.py"))
# What executes, or unpickles, what it reads. torch.load is checked below. user_recognizer.py opens
# programs that a user names as such (TorchScript, torch.export) and says so.
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads",
    "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "shelve.open",
    "marshal.loads", "pd.read_pickle", "dill.load", "torch.hub.load",
}  # fmt: skip


def calls(path: Path):
    """(dotted name, call) of every call in a source file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_call_executes_what_it_reads(path):
    for name, call in calls(path):
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        where = f"{path}:{call.lineno}: {name}"
        assert name not in FORBIDDEN, where
        assert keywords.get("shell") in (None, "False"), where
        if name == "torch.load":
            inert = keywords.get("pickle_module") == "this" and path.name == "inert_pickle.py"
            assert inert or keywords.get("weights_only") == "True", where
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle") in (None, "False"), where


def test_the_scan_finds_what_it_looks_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("torch.load(x)\n")
    with pytest.raises(AssertionError):
        test_no_call_executes_what_it_reads(bad)
    bad.write_text("yaml.load(x)\n")
    with pytest.raises(AssertionError):
        test_no_call_executes_what_it_reads(bad)


class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


def as_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(), protocol=2))


def as_checkpoint(path: Path) -> None:
    torch.save({"state_dict": Payload(), "settings": Payload()}, path)


def as_old_checkpoint(path: Path) -> None:
    torch.save(Payload(), path, _use_new_zipfile_serialization=False)


@pytest.fixture
def place(tmp_path, prepared, monkeypatch):
    """A folder with a good processor, recognizer, data set and YAML beside a file that is none."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    header = {"task": "dn", "objective": "plain", "lambda": 0.0, "dataset": "tiny"}
    processor = build_processor("SRResNet", 1, channels=4, blocks=1)
    save_model(Path("p.safetensors"), processor, {"kind": "processor", **header})
    recognizer = {"kind": "recognizer", "arch": "mobilenet_v3_small", "classes": ["a", "b", "c"]}
    save_model(Path("r.safetensors"), build_recognizer("mobilenet_v3_small", 3), recognizer)
    for name in ("train.csv", "train.bin", "val.csv", "val.bin", "dataset.json"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes((prepared / name).read_bytes())
    for kind in ("state_dict", "torchscript", "exported"):
        content = {"arch": "mobilenet_v3_small", kind: "bad.pt", "num_classes": 3}
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


TRAIN = "train --data data --task dn --epochs 1 --channels 4 --blocks 1 --device cpu --save-dir o"
EVALUATE = "evaluate --data data --device cpu --save-dir o"
JUDGE = f"{EVALUATE} --model-sr p.safetensors"
KINDS = [
    ("bad.pt", f"{TRAIN} --recognizer bad.pt"),
    ("bad.pt", f"{EVALUATE} --model-sr bad.pt --recognizers r.safetensors"),
    ("bad.pt", f"{JUDGE} --model-transformer bad.pt --recognizers r.safetensors"),
    ("r.safetensors", f"{JUDGE} --recognizers r.safetensors"),
    ("bad.pt", f"{JUDGE} --recognizers state_dict.yaml"),
    ("bad.pt", f"{JUDGE} --recognizers torchscript.yaml"),
    ("bad.pt", f"{JUDGE} --recognizers exported.yaml"),
    ("r.yaml", f"{JUDGE} --recognizers r.yaml"),
    ("bad.pt", "import-checkpoint bad.pt --task sr --save-dir o"),
    ("o/state.pt", f"{TRAIN} --l 0"),
    ("data/dataset.json", f"{TRAIN} --l 0"),
    ("data/train.csv", f"{TRAIN} --l 0"),
    ("data/train.bin", f"{TRAIN} --l 0"),
    ("x.csv", "table --evaluations x.csv --save-dir o"),
    ("photos/train/a/0.png", "prepare --data photos --save-dir o --resize 20 --crop 16"),
]  # fmt: skip


@pytest.mark.parametrize("write", [as_pickle, as_checkpoint, as_old_checkpoint])
@pytest.mark.parametrize(("name", "command"), KINDS)
def test_no_input_file_is_executed(place, capsys, name, command, write):
    if name.startswith("photos"):
        write_images(place / "photos", train=1, val=1)
    Path(name).parent.mkdir(exist_ok=True)
    write(Path(name))
    code = main(command.split())
    said = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert code == 1 and len(said) == 1, said
    assert not (place / "executed").exists()


def test_the_payload_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_pickle(tmp_path / "x")
    pickle.loads((tmp_path / "x").read_bytes())
    assert (tmp_path / "executed").exists()


HOSTILE = "$(touch executed); '"


def test_class_folders_of_shell_code_are_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / HOSTILE / "photos"
    write_images(root, (HOSTILE, "`touch executed`", "a\n|touch executed"), train=2, val=2)

    def ra(*arguments):
        assert main([str(part) for part in arguments]) == 0, capsys.readouterr().err

    small = ["--device", "cpu", "--epochs", "1"]
    r, p = tmp_path / "r/recognizer.safetensors", tmp_path / HOSTILE / "p/processor.safetensors"
    ra("prepare", "--data", root, "--save-dir", "data", "--resize", "32", "--crop", "32")
    ra("train-recognizer", "--data", "data", "--arch", "mobilenet_v3_small", *small,
       "--save-dir", r.parent)  # fmt: skip
    ra("train", "--data", "data", "--task", "sr", "--recognizer", r, "--channels", "4",
       "--blocks", "1", *small, "--save-dir", p.parent)  # fmt: skip
    ra("evaluate", "--data", "data", "--model-sr", p, "--recognizers", r, *small[:2])
    ra("table", "--evaluations", p.parent / "evaluation.csv", "--save-dir", "tables")
    assert (tmp_path / "tables/sr.csv").exists()
    assert not list(tmp_path.rglob("executed"))


def test_no_shell_reads_the_config(tmp_path):
    """The commands that snakemake would run, given to a shell that only splits them."""
    hostile = {"data": f"/x/{HOSTILE}", "dataset": "tiny", "results": f"out {HOSTILE}"}
    hostile["recognizers"] = {"train": ["resnet18"], "evaluate": ["resnet18"], "weights": HOSTILE}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**hostile, "objectives": {"ra": 1}}))
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    commands = re.findall(
        r"^ *Shell command: (ra .*)|^ +(ra (?:prepare|train|table).*)", said, re.M
    )
    lines = [one or other for one, other in commands]
    assert len(lines) >= 3, said
    for line in lines:
        assert "$(dirname" not in line
        words = line.replace("ra ", "printf '%s\\n' ", 1)
        words = re.sub(r"2> .*", "", words)
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    assert not list(tmp_path.rglob("executed"))


def test_secrets_of_the_environment_are_written_nowhere(prepared, tmp_path, monkeypatch, capsys):
    secret = "s3cr3t-0b5cur3"
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "KAGGLE_KEY"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    command = ["train", "--data", prepared, "--task", "dn", "--l", "0", "--epochs", "1"]
    command += ["--channels", "4", "--blocks", "1", "--device", "cpu", "--save-dir", tmp_path / "p"]
    assert main([str(part) for part in command]) == 0
    assert tracking.deliver(f"sqlite:///{tmp_path}/mlflow.db") == 0
    said = capsys.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files)
    assert secret not in said.out + said.err
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_the_ui_listens_to_this_machine_only():
    makefile = (ROOT / "Makefile").read_text()
    servers = [line for line in makefile.splitlines() if re.search(r"mlflow (ui|server)", line)]
    assert servers and all("--host 127.0.0.1" in line for line in servers)


def test_the_lock_has_a_hash_for_every_package():
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    packages = [block for block in blocks if re.match(r"[a-z0-9][\w.-]*(\[.*\])?==", block)]
    assert len(packages) > 50
    assert all("--hash=sha256:" in block for block in packages)
    assert "--require-hashes" in (ROOT / "Makefile").read_text()
