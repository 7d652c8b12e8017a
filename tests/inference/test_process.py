"""Use of a trained P: tiles equal the whole, alpha and grey are kept, errors are one line."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ra.cli import main
from ra.errors import UserError
from ra.inference.process import Processor, load, plan, receptive_reach
from ra.models.checkpoints import save_model
from ra.models.processors import PROCESSORS, build_processor

SMALL = {
    "SRResNet": {"channels": 6, "blocks": 2},
    "SRDenseNet": {"channels": 2, "blocks": 1},
    "pix2pix": {"channels": 4, "blocks": 1},
    "residual": {"channels": 4, "blocks": 3},
}
SCALE = {"SRResNet": 4, "SRDenseNet": 2, "pix2pix": 1, "residual": 1}


def network(arch):
    """Random weights, and batch norms that change something."""
    torch.manual_seed(0)
    module = build_processor(arch, SCALE[arch], **SMALL[arch])
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 1)
    nn.init.normal_([p for p in module.parameters() if p.dim() == 4][-1], std=0.2)
    return module


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("arch", SMALL)
def test_tiles_give_the_result_of_the_whole_image(arch):
    module, image = network(arch), noise(150, 101, 3)
    whole = Processor(module, SCALE[arch], tile=512).pixels(image)
    parts, seen = Processor(module, SCALE[arch], tile=48), []
    tiled = parts.pixels(image, lambda done, of: seen.append((done, of)))
    assert whole.shape == (150 * SCALE[arch], 101 * SCALE[arch], 3)
    assert seen[-1] == (12, 12) and whole.std() > 5
    # Sums in another order may round a byte the other way, once in a while and by one.
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_every_registered_p_is_tested():
    """An architecture added by a test of its own may come later in PROCESSORS."""
    assert set(SMALL) <= set(PROCESSORS)


def test_a_narrower_border_would_be_seen():
    """The border is not wider than needed for nothing: without it tiles differ."""
    module, image = network("SRResNet"), noise(150, 101, 3)
    parts = Processor(module, 4, tile=48)
    parts._reach = 0
    whole = Processor(module, 4).pixels(image).astype(int)
    assert np.abs(whole - parts.pixels(image)).max() > 5


@pytest.mark.parametrize(
    ("arch", "least", "most"),
    # conv9 + 2 blocks of two conv3 + conv3, then conv3 at x1, conv3 at x2, conv9 at x4
    [("SRResNet", 4 + 4 + 1 + 2, 12), ("residual", 4, 4)],
)
def test_the_receptive_field_is_that_of_the_layers(arch, least, most):
    assert least <= receptive_reach(build_processor(arch, SCALE[arch], **SMALL[arch])) <= most


def test_a_p_that_reads_everything_is_not_cut_into_tiles():
    class Mean(nn.Module):
        def forward(self, x):
            return x - x.mean((2, 3), keepdim=True) + 0.5

    whole = Processor(Mean(), 1, tile=64)
    assert whole.pixels(noise(64, 64, 3)).shape == (64, 64, 3)
    with pytest.raises(UserError, match="reads the whole image"):
        whole.pixels(noise(65, 64, 3))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    save_model(
        folder / "processor.safetensors",
        network("SRResNet"),
        {"kind": "processor", "task": "sr", "task_settings": {"factor": 4}},
    )
    return folder


@pytest.mark.parametrize(
    ("mode", "result"),
    [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("LA", "LA"), ("P", "RGB"), ("CMYK", "RGB")],
)
def test_grey_stays_grey_and_alpha_is_kept(model, mode, result):
    image = Image.fromarray(noise(10, 14, 3)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    restored = load(model)(image)
    assert (restored.mode, restored.size) == (result, (56, 40))
    if mode in ("RGBA", "LA"):
        alpha = np.asarray(restored.getchannel("A")).astype(int)
        wanted = np.asarray(image.getchannel("A").resize((56, 40), Image.Resampling.BICUBIC))
        assert np.array_equal(alpha, wanted) and alpha.max() - alpha.min() > 200


def test_exif_rotation_is_applied(model):
    image = Image.fromarray(noise(10, 14, 3))
    image.getexif()[0x0112] = 6
    assert load(model)(image).size == (40, 56)


def call(*arguments):
    return main([str(part) for part in arguments])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    for name in ("a.png", "b.png", "in/c.png"):
        Image.fromarray(noise(8, 12, 3)).save(folder / name)
    return folder


def test_files_folders_and_patterns(model, photos, tmp_path, capsys):
    assert call("process", "--model", model, photos, tmp_path / "folder") == 0
    done = {str(p.relative_to(tmp_path / "folder")) for p in (tmp_path / "folder").rglob("*.png")}
    assert done == {"a.png", "b.png", "in/c.png"}
    assert "100%" in capsys.readouterr().err
    assert call("process", "--quiet", "--model", model, photos / "?.png", tmp_path / "few") == 0
    assert {p.name for p in (tmp_path / "few").iterdir()} == {"a.png", "b.png"}
    one = tmp_path / "one.jpg"
    file = model / "processor.safetensors"
    assert call("process", "--quiet", "--model", file, photos / "a.png", one) == 0
    with Image.open(one) as image:
        assert (image.size, image.format) == ((48, 32), "JPEG")
    assert capsys.readouterr().err == ""


def test_a_bad_image_is_named_and_the_others_are_done(model, photos, tmp_path, capsys):
    (photos / "a.png").write_bytes(b"nothing")
    assert call("process", "--model", model, photos, tmp_path / "out") == 1
    assert f"1 of 3 images not processed: {photos}/a.png: is not" in capsys.readouterr().err
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["none.png"], "out", "none.png: no such file, folder or pattern"),
        (["a.png"], "x.abc", "no image format is called .abc"),
        (["a.png", "b.png"], "a.png", "is a file; 2 results need a folder"),
        (["a.png", "in/../a.png"], "out", "would both become"),
        (["a.png"], ".", "would replace an input"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(photos, monkeypatch, inputs, out, message):
    from pathlib import Path

    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match=message):
        plan(inputs, Path(out))


def test_a_missing_t_is_named(model):
    with pytest.raises(UserError, match="transformer.safetensors: no such file"):
        load(model, transformer=True)


def test_t_is_applied_behind_p(model):
    t = build_processor("residual", 1, channels=4, blocks=2)
    nn.init.constant_(t.body[-1].bias, 0.25)
    save_model(model / "transformer.safetensors", t, {"kind": "transformer"})
    image = np.zeros((8, 8, 3), np.uint8)
    before, after = load(model).pixels(image), load(model, transformer=True).pixels(image)
    assert np.allclose(after, np.minimum(255, before + 63.75), atol=1.1)


def test_predict_shows_what_r_answers_before_and_after(model, photos, tmp_path, recognizer, capsys):
    from ra.inference.predict import predict

    r = tmp_path / "recognizer.safetensors"
    save_model(
        r, recognizer, {"kind": "recognizer", "arch": "squeezenet1_1", "classes": ["x", "y", "z"]}
    )
    answers = predict(load(model), [str(r)], [photos / "a.png"], degrade=True, resize=32)
    row = answers.iloc[0]
    assert {row.before, row.after} <= {"x", "y", "z"} and 33 < row.after_p <= 100
    flags = ["--recognizers", r, "--resize", 32, "--csv", tmp_path / "answers.csv"]
    assert call("predict", "--model", model, photos, *flags) == 0
    said = capsys.readouterr().out
    assert "before" in said and said.count("squeezenet1_1") == 3
    assert (tmp_path / "answers.csv").read_text().startswith("image,recognizer,before,before_p")
