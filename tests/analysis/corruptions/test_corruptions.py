"""A corrupted set as it is published: prepared, evaluated, and its mean corruption errors."""

import pandas as pd
import pytest
from helpers import write_evaluation
from PIL import Image

from ra.analysis.command_settings import Corruptions
from ra.analysis.corruptions.prepare import corruptions_in
from ra.analysis.corruptions.table import write_corruptions
from ra.cli import main
from ra.data.splits import open_split
from ra.errors import UserError
from ra.models.architectures import build_recognizer
from ra.models.checkpoints import save_model
from ra.models.processors import build_processor


def write_set(root, corruptions=("fog", "snow"), severities=2, classes=("a", "b", "x"), images=2):
    """CORRUPTION/SEVERITY/CLASS/*.png; the red of a pixel says which corruption and severity."""
    for number, corruption in enumerate(corruptions):
        for severity in range(1, severities + 1):
            for name in classes:
                folder = root / corruption / str(severity) / name
                folder.mkdir(parents=True)
                for index in range(images):
                    colour = (100 * number + 10 * severity, 0, index)
                    Image.new("RGB", (20, 20), colour).save(folder / f"{index}.png")
    return root


def call(*arguments):
    return main([str(part) for part in arguments])


def test_a_corruption_is_a_prepared_set_with_the_classes_of_the_experiment(
    prepared, tmp_path, capsys
):
    root = write_set(tmp_path / "set-c")
    words = ["prepare-corruption", "--data", root, "--crop", 16, "--save-dir", tmp_path / "out"]
    assert call(*words, "--corruption", "snow", "--like", prepared) == 0
    assert "left out 1 of 3 classes" in capsys.readouterr().err
    split = open_split(tmp_path / "out", "val")
    assert split.info.classes == ("a", "b", "c") and split.info.degraded
    assert split.info.name == "set-c-snow" and split.info.images == {"val": 8}
    assert list(split.paths)[:3] == ["snow/1/a/0.png", "snow/1/a/1.png", "snow/1/b/0.png"]
    assert split.labels.tolist() == [0, 0, 1, 1] * 2
    assert [split.image(n)[0, 0, 0] for n in (0, 4)] == [110, 120]
    assert call(*words, "--corruption", "fogg") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith(f"{root}: unknown corruption 'fogg'; nearest: fog")


def test_a_set_of_no_corruptions_is_named(tmp_path):
    with pytest.raises(UserError, match="no corrupted set; expected CORRUPTION/SEVERITY/CLASS"):
        corruptions_in(tmp_path / "nowhere")
    write_set(tmp_path / "set")
    assert corruptions_in(tmp_path / "set") == ["fog", "snow"]
    assert corruptions_in(tmp_path / "set", ["snow"]) == ["snow"]


def test_no_image_of_the_experiments_classes_is_named(prepared, tmp_path, capsys):
    root = write_set(tmp_path / "set", classes=("y", "z"))
    words = ["--data", root, "--corruption", "fog", "--like", prepared, "--save-dir", tmp_path]
    assert call("prepare-corruption", *words) == 1
    assert "fog: no image in SEVERITY/CLASS/ of the classes a, b, c" in capsys.readouterr().err


@pytest.fixture(scope="module")
def corrupted(prepared, tmp_path_factory):
    """(a corruption, prepared; a recognizer of its classes)."""
    place = tmp_path_factory.mktemp("corrupted")
    root = write_set(place / "set")
    words = ["--corruption", "fog", "--like", prepared, "--crop", 16, "--save-dir", place / "data"]
    assert call("prepare-corruption", "--data", root, *words) == 0
    header = {"kind": "recognizer", "arch": "mobilenet_v3_small", "classes": ["a", "b", "c"]}
    save_model(place / "r.safetensors", build_recognizer(header["arch"], 3), header)
    return place / "data", place / "r.safetensors"


@pytest.mark.parametrize(("task", "scale"), [("dn", 1), ("sr", 4)])
def test_processors_get_the_images_as_they_are(corrupted, tmp_path, monkeypatch, task, scale):
    data, r = corrupted
    seen = []
    network = build_processor("SRResNet", scale, channels=2, blocks=1)
    monkeypatch.setattr(
        type(network), "forward", lambda self, x: seen.append(x) or x.repeat_interleave(
            scale, 2).repeat_interleave(scale, 3)
    )  # fmt: skip
    header = {"kind": "processor", "task": task, "objective": "plain", "lambda": 0.0}
    header |= {"recognizer": "none", "seed": 0}
    save_model(tmp_path / "p.safetensors", network, header)
    words = ["evaluate", "--data", data, "--recognizers", r, "--threads", 1, "--device", "cpu"]
    assert call(*words, "--model-sr", tmp_path / "p.safetensors", "--save-dir", tmp_path) == 0
    (batch,) = [one for one in seen if len(one) == 8]
    assert batch.shape == (8, 3, 16 // scale, 16 // scale)  # no noise; sr: down-sampled
    assert (batch[:, 0] * 255).round().unique().tolist() == [10, 20]
    images = pd.read_csv(tmp_path / "images.csv")
    assert "psnr" not in images and "mobilenet_v3_small:top1" in images
    assert set(pd.read_csv(tmp_path / "evaluation.csv").evaluation_r) == {"mobilenet_v3_small"}


# Hits by corruption and severity; two images each.
HITS = {
    ("no_processing", "alex"): {"fog/1": "10", "fog/2": "00", "snow/1": "10", "snow/2": "10"},
    ("no_processing", "r18"): {"fog/1": "11", "fog/2": "10", "snow/1": "10", "snow/2": "10"},
    ("plain", "alex"): {"fog/1": "10", "fog/2": "00", "snow/1": "10", "snow/2": "10"},
    ("plain", "r18"): {"fog/1": "11", "fog/2": "00", "snow/1": "10", "snow/2": "10"},
    ("ra", "alex"): {"fog/1": "11", "fog/2": "10", "snow/1": "11", "snow/2": "11"},
    ("ra", "r18"): {"fog/1": "11", "fog/2": "11", "snow/1": "11", "snow/2": "00"},
}


def evaluations(folder, copies=1, corruptions=("fog", "snow"), **identity):
    """One evaluation per corruption and processor; each image ``copies`` times."""
    made = []
    for p_model in ("no_processing", "plain", "ra"):
        for corruption in corruptions:
            hits = {r: "" for p, r in HITS if p == p_model}
            paths = []
            for cell in (f"{corruption}/{severity}" for severity in (1, 2)):
                paths += [f"{cell}/a/{n}-{c}.png" for c in range(copies) for n in (0, 1)]
                for r in hits:
                    hits[r] += HITS[p_model, r][cell] * copies
            place = folder / p_model / corruption
            made.append(write_evaluation(place, p_model, hits, paths, **identity))
    return made


def test_mean_corruption_error_is_the_authors(tmp_path):
    write_corruptions(
        Corruptions(evaluations=evaluations(tmp_path), relative_to="alex", save_dir=tmp_path)
    )
    mce = pd.read_csv(tmp_path / "mce.csv").set_index(["p_model", "evaluation_r"])
    # The errors of alex without processing: fog 50 + 100, snow 50 + 50.
    assert mce.mce["no_processing", "alex"] == 100
    assert mce.loc[("no_processing", "r18"), ["fog", "snow"]].tolist() == pytest.approx(
        [100 / 3, 100]
    )
    assert mce.mce["ra", "alex"] == pytest.approx((100 * 50 / 150 + 0) / 2)
    assert mce.mce["ra", "r18"] == pytest.approx((0 + 100) / 2)
    assert mce.difference["ra", "alex"] == pytest.approx(100 / 6 - 100)
    assert mce.difference[["no_processing", "plain"]].isna().all()
    errors = pd.read_csv(tmp_path / "corruptions.csv")
    row = errors.query("p_model == 'ra' and evaluation_r == 'r18' and corruption == 'snow'")
    assert row.severity.tolist() == [1, 2] and row.error.tolist() == [0, 100]
    assert (row.low <= row.error).all() and (row.error <= row.high).all() and (row.n == 2).all()
    text = (tmp_path / "corruptions.md").read_text()
    assert "| severity 1 |" in text.replace("  ", "") and "in percent of the errors of alex" in text
    assert (tmp_path / "corruptions.png").stat().st_size > 1000


def test_intervals_leave_out_a_clean_image_with_all_its_copies(tmp_path):
    files = evaluations(tmp_path, copies=30)
    write_corruptions(Corruptions(evaluations=files, relative_to="alex", save_dir=tmp_path))
    mce = pd.read_csv(tmp_path / "mce.csv").set_index(["p_model", "evaluation_r"])
    ra = mce.loc[("ra", "alex")]
    assert ra.mce == pytest.approx(100 / 6) and ra.mce_low < ra.mce < ra.mce_high
    assert ra.difference_low < ra.difference < ra.difference_high < 0
    assert ra.p < 0.001 and ra.p <= ra.p_holm
    # Without processing, alex is its own measure, whatever images there are.
    nothing = mce.loc[("no_processing", "alex")]
    assert nothing.mce_low == nothing.mce == nothing.mce_high == 100


def test_seeds_are_averaged(tmp_path):
    files = evaluations(tmp_path / "0")
    better = HITS | {("ra", "alex"): dict.fromkeys(HITS["ra", "alex"], "11")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "HITS", better)
        files += [f for f in evaluations(tmp_path / "1", seed=1) if "no_processing" not in str(f)]
    write_corruptions(Corruptions(evaluations=files, relative_to="alex", save_dir=tmp_path))
    mce = pd.read_csv(tmp_path / "mce.csv").set_index(["p_model", "evaluation_r"])
    assert mce.mce["ra", "alex"] == pytest.approx(100 / 12) and mce.seeds["ra", "alex"] == 2
    assert mce.mce_low["ra", "alex"] < 0 < mce.mce["ra", "alex"]


def test_what_cannot_be_compared_is_named(tmp_path):
    files = evaluations(tmp_path)
    with pytest.raises(UserError, match="--relative-to: no evaluation of sr without .* by vgg11"):
        write_corruptions(Corruptions(evaluations=files, relative_to="vgg11", save_dir=tmp_path))
    with pytest.raises(UserError, match="sr ra 0.1 r18 alex and no processing differ in snow/1"):
        write_corruptions(
            Corruptions(evaluations=files[:-1], relative_to="alex", save_dir=tmp_path)
        )
    other = write_evaluation(tmp_path / "x", "ra", {"r18": "01"})
    with pytest.raises(UserError, match="images do not lie in CORRUPTION/SEVERITY/CLASS/"):
        write_corruptions(Corruptions(evaluations=[other], relative_to="r18", save_dir=tmp_path))
