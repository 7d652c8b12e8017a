"""Images in and out of ``ra process``: what is found, what can be written, what is named."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ra.cli import main
from ra.errors import UserError
from ra.inference.deep import Deep
from ra.inference.files import LONGEST, plan, read, save, stored_mode


def picture(width=12, height=8, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def process(model, *paths, flags=()):
    return main(["process", "--model", str(model), *flags, *(str(path) for path in paths)])


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*")}


def test_files_folders_and_patterns(model, photos, tmp_path, capsys):
    assert process(model, photos, tmp_path / "folder") == 0
    assert names(tmp_path / "folder") == {"a.png", "b.png", "in/c.png"}
    said = capsys.readouterr()
    assert "100%" in said.err
    assert said.out.startswith("process: 3 images, ") and "MP/s" in said.out
    assert said.out.endswith(f" -> {tmp_path / 'folder'}\n")
    assert process(model, photos / "?.png", tmp_path / "few", flags=["--quiet"]) == 0
    assert names(tmp_path / "few") == {"a.png", "b.png"}
    one = tmp_path / "one.jpg"
    file = model / "processor.safetensors"
    assert process(file, photos / "a.png", one, flags=["--quiet"]) == 0
    with Image.open(one) as image:
        assert (image.size, image.format) == ((48, 32), "JPEG")
    said = capsys.readouterr()
    assert said.err == said.out == ""


def test_hidden_files_and_thumbnails_are_left_out_and_other_files_are_named(
    model, photos, tmp_path, capsys
):
    for name in (".hidden.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        picture().save(photos / name)
    picture().save(photos / "d.jfif")
    (photos / "notes.txt").write_text("no image")
    assert process(model, photos, tmp_path / "out") == 0
    assert names(tmp_path / "out") == {"a.png", "b.png", "in/c.png", "d.png"}
    assert "left out: 1 (notes.txt)" in capsys.readouterr().err


def test_results_of_an_earlier_run_are_no_inputs(model, photos):
    out = photos / "out"
    for _ in range(2):
        assert process(model, photos, out) == 0
        assert names(out) == {"a.png", "b.png", "in/c.png"}


def test_bad_images_are_named_and_the_others_are_done(model, photos, tmp_path, capsys):
    (photos / "a.png").write_bytes(b"nothing")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(photos / "float.tif")
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (tmp_path / "out/in/c.png").mkdir(parents=True)  # where a result should go
    assert process(model, photos, tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    assert (tmp_path / "out/b.png").is_file() and names(tmp_path / "out") == {"b.png", "in/c.png"}
    for name, reason in {"a.png": "is not an image", "float.tif": "floating-point"}.items():
        assert [line for line in said if line.startswith(f"{photos / name} ") and reason in line]
    assert [line for line in said if line.startswith(str(photos / "cut.jpg"))]
    assert [line for line in said if str(tmp_path / "out/in/c.png") in line]
    assert said[-1].endswith("4 of 5 images were not processed; each is named above")
    assert not [line for line in said if "Traceback" in line]


def test_a_name_that_is_not_utf_8_is_processed_and_shown_escaped(model, tmp_path, capsys):
    folder = tmp_path / "latin"
    folder.mkdir()
    for name in (b"caf\xe9.png", b"bad\xe9.png"):
        picture().save(os.path.join(os.fsencode(folder), name).decode("utf-8", "surrogateescape"))
    Path(os.fsdecode(os.path.join(os.fsencode(folder), b"bad\xe9.png"))).write_bytes(b"nothing")
    assert process(model, folder, tmp_path / "out") == 1
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"caf\xe9.png"]
    assert "bad\\xe9.png cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_image_is_read_or_named_whatever_the_decoder_raises(tmp_path, seed):
    generator = np.random.default_rng(seed)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".bmp", ".ppm", ".avif", ".jp2"):
        path = tmp_path / f"x{suffix}"
        picture(30, 20).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for reach in (40, len(whole)):  # the header, or anything
            for _ in range(10):
                damaged = whole.copy()
                damaged[generator.integers(0, reach, 4)] = generator.integers(0, 256, 4)
                path.write_bytes(
                    damaged[: generator.integers(reach // 2, len(whole) + 1)].tobytes()
                )
                with contextlib.suppress(UserError):
                    assert min(read(path).size) > 0


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["none.png"], "out", "none.png: no such file, folder or pattern"),
        (["a.png"], "x.abc", "no image format is called .abc"),
        (["a.png"], "x.psd", "x.psd: Pillow cannot write .* PSD; try .png"),
        (["a.png", "b.png"], "a.png", "is a file; 2 results need a folder"),
        (["a.png", "in/../a.png"], "out", "would both become"),
        (["a.png"], ".", "would replace an input"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(photos, monkeypatch, inputs, out, message):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match=message):
        plan(inputs, Path(out))


@pytest.mark.parametrize(
    ("width", "out", "message"),
    [
        (4200, "out.webp", "the result has 16800 px, but WEBP holds at most 16383 px a side"),
        (16500, "out.jpg", "the result has 66000 px, but JPEG holds at most 65500 px a side"),
    ],
)
def test_a_result_too_large_for_its_format_is_said_before_the_network_runs(
    model, tmp_path, monkeypatch, capsys, width, out, message
):
    monkeypatch.setattr("ra.inference.process.Processor.pixels", None)
    picture(width, 4).save(tmp_path / "long.png")
    assert process(model, tmp_path / "long.png", tmp_path / out) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / out}: {message}; try .png\n" in said and "Traceback" not in said


@pytest.mark.parametrize("suffix", sorted(Image.registered_extensions()))
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_format_is_written_as_it_is_or_refused(tmp_path, mode, suffix):
    """Grey and alpha where the format has them, white behind the image where it has no alpha."""
    path = tmp_path / f"x{suffix}"
    image = Image.new(mode, (12, 8), 0)  # black; transparent where there is alpha
    try:
        stored_mode(path, mode)
    except UserError:
        with pytest.raises(UserError, match="try .png"):
            stored_mode(path, mode)
        return
    save(image, path)
    if suffix in (".eps", ".ps", ".pdf", ".mpo"):
        return  # opening them starts another program, or needs more of the file
    with Image.open(path) as stored:
        assert stored.size == (12, 8)
        colours = np.asarray(stored.convert("RGBA"))[0, 0]
    if mode.endswith("A"):  # transparent, or white
        assert colours[3] == 0 or colours[:3].min() > 250
    else:
        assert colours[:3].max() < 5


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_go_in_and_out(model, tmp_path, suffix, channels):
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 12, channels), dtype=np.uint16)
    source, result = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    profile = b"\0" * 16 + b"RGB " + b"\0" * 108
    save(Deep(pixels, profile), source)
    back = read(source)
    assert np.array_equal(back.pixels, pixels) and back.profile == profile
    assert process(model, source, result) == 0
    found = read(result)
    assert found.pixels.shape == (32, 48, channels) and found.profile == profile
    assert len(np.unique(found.pixels)) > 256
    assert process(model, source, tmp_path / "out.jpg") == 0
    shown = np.asarray(read(tmp_path / "out.jpg").convert("RGB")).astype(int)
    wanted = np.asarray(found.shallow().convert("RGB"))
    assert channels == 4 or np.abs(shown - wanted).mean() < 20


def test_a_16_bit_tiff_is_turned_upright(tmp_path):
    """All eight orientations, as Pillow turns the same image with 8 bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    for orientation in range(1, 9):
        tag = [(274, "H", 1, orientation, True)]
        for name, kind in (("8.tif", np.uint8), ("16.tif", np.uint16)):
            image = pixels.astype(kind) * (257 if kind is np.uint16 else 1)
            tifffile.imwrite(tmp_path / name, image, photometric="rgb", extratags=tag)
        deep = read(tmp_path / "16.tif").pixels
        assert np.array_equal(deep // 257, np.asarray(read(tmp_path / "8.tif")))


def test_16_bits_that_cannot_be_read_are_said(tmp_path, monkeypatch, capsys):
    save(Deep(np.full((8, 8, 3), 5000, np.uint16)), tmp_path / "x.tif")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda page: 1 / 0)  # as LZW is
    assert read(tmp_path / "x.tif").mode == "RGB"
    said = capsys.readouterr().err
    assert f"{tmp_path}/x.tif: processed with 8 bits; its 16 cannot be read (Zero" in said


@pytest.mark.parametrize("kind", LONGEST)
def test_the_longest_side_of_each_format_is_true(tmp_path, kind):
    suffix = {"ICO": ".ico", "JPEG": ".jpg", "SGI": ".sgi"}.get(kind, f".{kind.lower()}")
    with Image.open(_saved(tmp_path / f"x{suffix}", LONGEST[kind])) as image:
        assert image.width == LONGEST[kind]
    with pytest.raises(UserError, match=f"{kind} holds at most"):
        _saved(tmp_path / f"x{suffix}", LONGEST[kind] + 1)


def _saved(path, width):
    save(Image.new("RGB", (width, 4)), path)
    return path
