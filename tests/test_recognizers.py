"""docs/recognizers.md walked through: an example of each kind of recognizer, on tiny images."""

import json
import re
import shlex
import sys

import pandas as pd
import pytest
import torch
import torchvision
from helpers import ROOT, TINY_CLIP, write_images

from ra.cli import main
from ra.models.checkpoints import read_header

PAGE = (ROOT / "docs/recognizers.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
LINES = [
    line
    for language, block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if not language and line.startswith("ra ")
]
SMALL = {
    "prepare": "--resize 20 --crop 16",
    "train-recognizer": "--epochs 1 --device cpu",
    "train": "--epochs 1 --batch-size 8 --channels 4 --blocks 1 --device cpu",
    "evaluate": "--device cpu",
    "black-box": "--images 3 --device cpu",
    "export-zero-shot": "--model tiny-clip --pretrained none",
}
# Stand-ins for programs; what they print depends on the size of the file.
PROGRAMS = {
    "my-tool": """
assert sys.argv[1:3] == ["--top", "1"]
for file in sys.argv[3:]:
    print(["cat", "dog", "horse"][os.path.getsize(file) % 3])
""",
    "tesseract": """
assert sys.argv[2:] == ["-", "--psm", "6"]
print("two", "lines"[: 2 + os.path.getsize(sys.argv[1]) % 4], sep="\\n")
""",
}


def file_of_the_page(introduced: str) -> str:
    (text,) = re.findall(rf"`{introduced}`[^`]*?\n\n```\w*\n(.*?)^```$", PAGE, re.S | re.M)
    return text


def run(part: str) -> None:
    """Run the page's commands that hold ``part``, with tiny sizes."""
    chosen = [line for line in LINES if part in line]
    assert chosen, f"no command of the page holds {part}"
    for line in chosen:
        words = shlex.split(line)[1:]
        small = "--crop 64 --scenes 8 6" if words[2] == "scenes" else SMALL[words[0]]
        assert main([*words, *small.split()]) == 0, line


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The reader's folder after all commands of the page but those of the zero-shot classifier."""
    place = tmp_path_factory.mktemp("page")
    write_images(place / "photos", classes=("cat", "dog", "horse"))
    for folder in ("my", "bin"):
        (place / folder).mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), place / "my/weights.pth")
    (place / "my/cats.yaml").write_text(file_of_the_page("my/cats.yaml"))
    (place / "names.txt").write_text(file_of_the_page("names.txt"))
    for name, text in PROGRAMS.items():
        (place / "bin" / name).write_text(f"#!{sys.executable} -S\nimport os, sys\n{text}")
        (place / "bin" / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PATH", f"{place / 'bin'}:/usr/bin:/bin")
        for part in ("prepare", "resnet18", "cats", "plain", "out/scenes "):
            run(part)
        yield place


def check(place, folder, objective, recognizer):
    """The processor in ``folder`` was trained with the recognizer, and evaluated by it."""
    header = read_header(place / folder / "processor.safetensors")
    assert (header["objective"], header["recognizer"]) == (objective, recognizer)
    table = pd.read_csv(place / folder / "evaluation.csv").set_index(["evaluation_r", "metric"])
    (top1,) = table.value.xs("top1", level="metric")
    assert table.n.xs("top1", level="metric").tolist() == [12] and 0 <= top1 <= 100


def test_a_classifier_by_name(walked):
    check(walked, "out/ra", "ra", "resnet18")


def test_a_file_of_ones_own(walked):
    check(walked, "out/cats", "ra_unsupervised", "cats")


def test_a_zero_shot_classifier(walked, tmp_path):
    open_clip = pytest.importorskip("open_clip")  # of the extra zero-shot, and of requirements.lock
    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    run("clip")
    check(walked, "out/clip", "ra", "clip")


def test_a_program_that_prints_labels(walked):
    answers = pd.read_csv(walked / "out/labels/answers.csv")
    assert len(answers) == 4 * 3 and set(answers.answer) <= {"cat", "dog", "horse"}
    table = pd.read_csv(walked / "out/labels/agreement.csv")
    assert set(table.against) == {"label", "clean"} and set(table.measure) == {"agreement"}


def test_a_program_that_prints_text(walked):
    answers = pd.read_csv(walked / "out/ocr/answers.csv")
    assert answers.answer.str.fullmatch("two li(n(es?)?)?").all(), "a line break is a space"
    table = pd.read_csv(walked / "out/ocr/agreement.csv")
    assert set(table.against) == {"clean"} and set(table.measure) == {"agreement", "cer"}
    assert (table.value >= 0).all() and table.low.notna().all()


def test_detectors_and_segmenters(walked):
    header = read_header(walked / "out/through_detector/processor.safetensors")
    assert (header["dataset"], header["recognizer"]) == ("scenes", "tiny_detector")
    table = pd.read_csv(walked / "out/through_both/evaluation.csv")
    found = set(zip(table.evaluation_r, table.metric, strict=True))
    assert {("tiny_detector", "map50"), ("tiny_segmenter", "miou")} <= found
    assert set(table.training_r) == {"tiny_detector+tiny_segmenter"}
