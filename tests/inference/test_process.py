"""A trained processor on whole images: tiles equal the whole, alpha, grey and profile are kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ra.data.images import BadImage
from ra.errors import UserError
from ra.inference.deep import Deep
from ra.inference.process import Processor, load
from ra.inference.tiles import receptive_reach
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


class Normed(nn.Module):
    """x + two conv3 with a LayerNorm over channels between them, as in NAFNet."""

    def __init__(self):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        y = self.norm(self.head(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + 0.2 * self.tail(y)


class Windows(nn.Module):
    """Self-attention within windows, then within windows shifted by half, as in SwinIR."""

    def __init__(self, side, multiple=1):
        super().__init__()
        self.side, self.multiple = side, multiple
        self.attend = nn.MultiheadAttention(3, 1, batch_first=True)
        nn.init.normal_(self.attend.in_proj_weight, std=3)

    def forward(self, x):
        y = self._windows(x)
        return torch.roll(
            self._windows(torch.roll(y, 2 * [-self.side // 2], (2, 3))),
            2 * [self.side // 2],
            (2, 3),
        )

    def _windows(self, x):
        (n, c, h, w), side = x.shape, self.side
        padded = nn.functional.pad(x, (0, -w % side, 0, -h % side), "replicate")
        parts = nn.functional.unfold(padded, side, stride=side).view(n, c, side * side, -1)
        tokens = parts.permute(0, 3, 2, 1).reshape(-1, side * side, c)
        seen = self.attend(tokens, tokens, tokens, need_weights=False)[0].reshape(
            n, -1, side * side, c
        )
        folded = seen.permute(0, 3, 2, 1).reshape(n, c * side * side, -1)
        return (
            x + nn.functional.fold(folded, padded.shape[2:], side, stride=side)[..., :h, :w]
        ) / 2


class Pooled(nn.Module):
    def forward(self, x):
        return (x - x.mean((2, 3), keepdim=True) + 0.5).clamp(0, 1)


def steps(width=160, height=96):
    """Dark, then bright: each tile has a mean of its own."""
    image = noise(height, width, 3) // 8 + 60
    image[:, width // 2 :] += 120
    return image


@pytest.mark.parametrize(
    ("module", "reach"),
    [(Normed, 2), (lambda: Windows(8), 4), (lambda: Windows(12, multiple=12), None)],
)
def test_tiles_have_no_seams_where_gradients_see_nothing(module, reach, capsys):
    torch.manual_seed(0)
    module = module()
    assert reach is None or receptive_reach(module) == reach
    whole = Processor(module, 1).pixels(steps()).astype(int)
    tiled = Processor(module, 1, tile=48).pixels(steps())
    inner = np.s_[12:-12, 12:-12]  # torch.roll joins the ends of an image
    assert np.abs(whole - tiled)[inner].max() <= 1 and whole.std() > 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("module", [Pooled, lambda: Windows(12)])
def test_tiles_that_differ_from_the_whole_fade_into_each_other(module, capsys):
    """Global pooling, and windows to which tiles are not aligned because nothing declares them."""
    torch.manual_seed(0)
    processor = Processor(module(), 1, tile=64)
    tiled = processor.pixels(steps()).astype(int)
    assert processor.ramp > 0
    said = capsys.readouterr().err
    assert said.startswith("warning: output pixels depend on more than 256 px around them")
    assert said.count("\n") == 1 and "tiles of 64 px differ" in said
    processor.ramp = 0
    cut = processor.pixels(steps()).astype(int)
    jump = [np.abs(one.mean((0, 2))[64] - one.mean((0, 2))[63]) for one in (tiled, cut)]
    assert jump[0] < 3 and (jump[1] > 10 or isinstance(processor.network, Windows))
    alone = Processor(processor.network, 1, tile=256).pixels(steps()[:, :64])
    assert alone.shape == (96, 64, 3) and capsys.readouterr().err == ""


def test_tiles_are_halved_until_the_gpus_memory_suffices():
    class Small(nn.Module):
        most = 64 * 64

        def forward(self, x):
            if x.shape[2] * x.shape[3] > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return 1 - x

    processor = Processor(Small(), 1, tile=128)
    assert np.array_equal(processor.pixels(steps()), 255 - steps())
    assert processor.tile == 32
    processor.network.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        processor.pixels(steps())


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


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_come_out_with_16_bits(model, channels):
    """Finer than, and to half a step equal to, the same image with 8 bits."""
    eight = noise(10, 14, channels)
    if channels in (2, 4):
        eight[..., -1] = np.arange(0, 252, 18)  # Pillow rounds alpha between its two passes
    processor = load(model)
    deep = processor(Deep(eight.astype(np.uint16) * 257, b"profile"))
    shallow = np.asarray(processor(Image.fromarray(eight.squeeze()))).reshape(deep.pixels.shape)
    assert deep.pixels.shape == (40, 56, channels) and deep.profile == b"profile"
    assert np.abs(deep.pixels / 257 - shallow).max() < 1.6
    assert len(np.unique(deep.pixels)) > 1000
    dark = processor(Deep(eight.astype(np.uint16) * 16))  # 12 bits in 16
    assert 255 < dark.pixels.max() <= 4095


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
