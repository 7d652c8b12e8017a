"""Reading image files: every mode becomes RGB, odd files are named, nothing external is started."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from ra.data import images
from ra.data.images import BadImage, find_files, open_image, read_image


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    pixels = np.full((20, 20, 3), 200, dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), 200 * 257, dtype=np.uint16))
    else:
        image = image.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    read = read_image(path)
    assert read.shape == (20, 20, 3)
    assert read.mean() == pytest.approx(200, abs=4)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it upright
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)


def noise(size=(24, 20)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("extension", images.EXTENSIONS)
def test_every_listed_extension_is_read(tmp_path, extension):
    mode = {".pgm": "L", ".pbm": "1"}.get(extension, "RGB")
    format = Image.registered_extensions()[extension]
    noise().convert(mode).save(tmp_path / f"a{extension.upper()}", format)
    found, others = find_files(tmp_path)
    assert (found, others) == ([f"a{extension.upper()}"], [])
    assert read_image(tmp_path / found[0]).shape == (20, 24, 3)


def test_pillow_here_has_every_format():
    assert features.check("avif") and features.check("jpg_2000") and features.check("webp")


def test_hidden_files_and_thumbnails_are_no_images(tmp_path):
    for name in ("b/1.png", "a.png", ".ipynb_checkpoints/a.png", "b/._1.png", "b/@eaDir/1.png",
                 "__MACOSX/a.png", "b/notes.txt", "b/x.heic"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert find_files(tmp_path) == (["a.png", "b/1.png"], ["b/notes.txt", "b/x.heic"])


def test_postscript_called_png_starts_no_ghostscript(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # look for it anew
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/started\n")
    program.chmod(0o755)
    noise().save(tmp_path / "a.png", "EPS")
    with pytest.raises(BadImage, match="is not an image"):
        read_image(tmp_path / "a.png")
    assert not (tmp_path / "started").exists()


def test_images_beyond_the_pixel_limit_are_not_decoded(tmp_path):
    """A PNG of a few bytes whose header promises more than fits into a worker."""
    noise().save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    side = int(images.MAX_PIXELS**0.5) + 1
    assert images.MAX_PIXELS < side**2 < 2 * Image.MAX_IMAGE_PIXELS
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadImage, match="too many pixels to decode safely"):
        read_image(tmp_path / "a.png")


def test_odd_metadata_is_not_a_warning_of_several_lines(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 4_000_000_000) + bytes(40))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(BadImage, match="be read"):
            read_image(path)
    assert said == []


RAMP = np.linspace(0, 1, 480).reshape(20, 24)


@pytest.mark.parametrize(
    ("dtype", "white", "extension"),
    [
        (np.uint16, 65535, "png"),
        (np.uint16, 4095, "png"),
        (np.uint16, 4095, "tif"),
        (np.int32, 65535, "tif"),
        (np.int32, 4095, "tif"),
    ],
)
def test_twelve_and_sixteen_bits_become_eight(tmp_path, dtype, white, extension):
    path = tmp_path / f"a.{extension}"
    Image.fromarray((RAMP * white).round().astype(dtype)).save(path)
    assert np.abs(read_image(path)[..., 0] - RAMP * 255).max() <= 1


def test_a_dark_pgm_stays_dark(tmp_path):
    """The header of a PGM states its range."""
    dark = (RAMP * 4095).round().astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 24 20 65535\n" + dark.tobytes())
    assert read_image(tmp_path / "a.pgm").max() == 16


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_of_unknown_range_are_refused(tmp_path, value):
    pixels = np.array([[0, value]], np.int32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match=f"has integer pixels of .*{value}.*; save it with 8 or 16"):
        read_image(tmp_path / "a.tif")


def test_a_palette_image_keeps_its_colour_profile(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise().convert("P").save(tmp_path / "a.png", icc_profile=profile)
    opened = open_image(tmp_path / "a.png")
    assert opened.mode == "P" and opened.info["icc_profile"] == profile
