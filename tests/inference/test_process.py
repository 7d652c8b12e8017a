"""A trained processor on whole images: tiles equal the whole, alpha, grey and profile are kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ra.data.images import BadImage
from ra.errors import UserError
from ra.inference.process import Processor, load, receptive_reach
from ra.models.checkpoints import save_model
from ra.models.processors import PROCESSORS, build_processor

SMALL = {
    "SRResNet": {"channels": 6, "blocks": 2},
    "SRDenseNet": {"channels": 2, "blocks": 1},
    "pix2pix": {"channels": 4, "blocks": 1},
    "residual": {"channels": 4, "blocks": 3},
}
SCALE = {"SRResNet": 4, "SRDenseNet": 2, "pix2pix": 1, "residual": 1}


def network(arch, **settings):
    """Random weights, and batch norms that change something."""
    torch.manual_seed(0)
    module = build_processor(arch, SCALE[arch], **SMALL[arch], **settings)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 1)
    nn.init.normal_([p for p in module.parameters() if p.dim() == 4][-1], std=0.2)
    return module


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("arch", "settings"),
    [*((arch, {}) for arch in SMALL), ("SRResNet", {"skip": True, "padding": "replicate"})],
)
def test_tiles_give_the_result_of_the_whole_image(arch, settings):
    module, image = network(arch, **settings), noise(150, 101, 3)
    whole = Processor(module, SCALE[arch], tile=512).pixels(image)
    parts, seen = Processor(module, SCALE[arch], tile=48), []
    tiled = parts.pixels(image, lambda done, of: seen.append((done, of)))
    assert whole.shape == (150 * SCALE[arch], 101 * SCALE[arch], 3)
    assert seen[-1] == (12, 12) and whole.std() > 5
    # Sums in another order may round a byte the other way, once in a while and by one.
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_every_registered_processor_is_tested():
    """An architecture added by a test of its own may come later in PROCESSORS."""
    assert set(SMALL) <= set(PROCESSORS)


def test_a_narrower_border_would_be_seen():
    """The border is not wider than needed for nothing: without it tiles differ."""
    module, image = network("SRResNet"), noise(150, 101, 3)
    parts = Processor(module, 4, tile=48)
    parts.border = 0
    whole = Processor(module, 4).pixels(image).astype(int)
    assert np.abs(whole - parts.pixels(image)).max() > 5


@pytest.mark.parametrize(
    ("arch", "least", "most"),
    # conv9 + 2 blocks of two conv3 + conv3, then conv3 at x1, conv3 at x2, conv9 at x4
    [("SRResNet", 4 + 4 + 1 + 2, 12), ("residual", 4, 4)],
)
def test_the_receptive_field_is_that_of_the_layers(arch, least, most):
    assert least <= receptive_reach(build_processor(arch, SCALE[arch], **SMALL[arch])) <= most


def test_a_processor_with_global_pooling_is_not_cut_into_tiles():
    class Mean(nn.Module):
        def forward(self, x):
            return x - x.mean((2, 3), keepdim=True) + 0.5

    whole = Processor(Mean(), 1, tile=64)
    assert whole.pixels(noise(64, 64, 3)).shape == (64, 64, 3)
    with pytest.raises(UserError, match="depends on the whole image"):
        whole.pixels(noise(65, 64, 3))


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


@pytest.mark.parametrize(
    ("mode", "space", "kept"),
    [("P", b"RGB ", True), ("L", b"GRAY", True), ("RGBA", b"RGB ", True), ("CMYK", b"CMYK", False)],
)
def test_the_colour_profile_is_kept_where_it_fits_the_result(model, mode, space, kept):
    image = Image.fromarray(noise(8, 8, 3)).convert(mode)
    image.info["icc_profile"] = bytes(16) + space + bytes(108)
    assert ("icc_profile" in load(model)(image).info) is kept


def test_12_bits_in_16_are_not_black_and_32_bits_are_refused(model):
    dark = np.random.default_rng(0).integers(0, 4096, (8, 8), dtype=np.uint16)
    shown = np.asarray(load(model)(Image.fromarray(dark)))
    as_eight = np.asarray(load(model)(Image.fromarray((dark / (4095 / 255)).round().astype("u1"))))
    assert np.abs(shown.astype(int) - as_eight).max() <= 1
    with pytest.raises(BadImage, match="integer pixels"):
        load(model)(Image.fromarray(np.full((8, 8), 2**30, np.int32)))


def test_a_missing_transformer_is_named(model):
    with pytest.raises(UserError, match="transformer.safetensors: no such file"):
        load(model, transformer=True)


def test_the_transformer_is_applied_behind_the_processor(model):
    t = build_processor("residual", 1, channels=4, blocks=2)
    nn.init.constant_(t.body[-1].bias, 0.25)
    save_model(model / "transformer.safetensors", t, {"kind": "transformer"})
    image = np.zeros((8, 8, 3), np.uint8)
    before, after = load(model).pixels(image), load(model, transformer=True).pixels(image)
    assert np.allclose(after, np.minimum(255, before + 63.75), atol=1.1)
