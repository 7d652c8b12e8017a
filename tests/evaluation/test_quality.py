"""Measures against hand-computed cases, scikit-image and torchmetrics."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn.functional import conv2d
from torchmetrics.functional.image import (
    deep_image_structure_and_texture_similarity,
    learned_perceptual_image_patch_similarity,
)
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1
from torchvision.models.vgg import cfgs, make_layers

from ra.cli import main
from ra.errors import UserError
from ra.evaluation import quality
from ra.evaluation.quality import MEASURES, build_measures, image_quality, measure


def test_psnr_is_taken_per_image():
    target = torch.full((2, 3, 16, 16), 0.5)
    output = target + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    assert image_quality(output, target)["psnr"].tolist() == pytest.approx([20, 40], abs=1e-3)


def test_the_psnr_of_a_perfect_output_is_finite():
    target = torch.rand(1, 3, 16, 16)
    assert image_quality(target, target)["psnr"].item() == 100


def test_ssim_is_scikit_images():
    generator = np.random.default_rng(0)
    target = generator.random((48, 48, 3)).astype(np.float32)
    output = (target * 0.8 + 0.1).astype(np.float32)
    ours = image_quality(*(torch.from_numpy(i).permute(2, 0, 1)[None] for i in (output, target)))
    theirs = structural_similarity(
        output,
        target,
        channel_axis=2,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ours["ssim"].item() == pytest.approx(theirs, abs=2e-3)


def test_image_loss_is_that_of_the_output_as_it_is():
    target = torch.ones(1, 3, 16, 16)
    assert (
        image_quality(target + 1, target, build_measures(["image_loss"]))["image_loss"].item() == 1
    )


def test_an_unknown_measure_is_answered_with_the_nearest(capsys):
    target = torch.rand(1, 3, 16, 16)
    with pytest.raises(UserError, match="psnr"):
        image_quality(target, target, build_measures(["psnrr"]))


def test_a_measure_with_one_value_for_all_images_is_refused():
    @measure("whole", unit="1", higher_is_better=True)
    def whole(output, target):
        return (output - target).mean()

    target = torch.rand(2, 3, 16, 16)
    try:
        with pytest.raises(UserError, match=r"measure whole: returns shape \(\) for 2 images"):
            image_quality(target, target, build_measures(["whole"]))
    finally:
        del MEASURES._entries["whole"]


def test_further_parameters_of_a_measure_are_its_settings():
    target = torch.zeros(2, 3, 8, 8)

    @measure("shifted", unit="1", higher_is_better=False)
    def shifted(output, target, by: float = 1.0):
        return output.flatten(1).mean(1) + by

    try:
        found = image_quality(target, target, build_measures(["psnr", "shifted"], {"by": "2.5"}))
        assert found["shifted"].tolist() == [2.5, 2.5]
        with pytest.raises(UserError, match="shifted: by: 'much' should be a valid number"):
            build_measures(["shifted"], {"by": "much"})
        with pytest.raises(UserError, match="to: none of the measures psnr, shifted has it"):
            build_measures(["psnr", "shifted"], {"to": 1})
    finally:
        del MEASURES._entries["shifted"]


def test_psnr_y_is_that_of_luma_without_a_frame():
    target = torch.rand(2, 3, 16, 16)
    output = target.clone()
    output[:, 1, 2:-2, 2:-2] = (target[:, 1, 2:-2, 2:-2] - 0.3).abs()  # green only
    output[:, :, 0] = 1 - target[:, :, 0]  # within the frame
    luma = [
        rgb2ycbcr(image[:, :, 2:-2, 2:-2].permute(0, 2, 3, 1).double().numpy())[..., 0] / 255
        for image in (output, target)
    ]
    wanted = [peak_signal_noise_ratio(b, a, data_range=1) for a, b in zip(*luma, strict=True)]
    found = image_quality(output, target, build_measures(["psnr_y"], {"frame": 2}))
    assert found["psnr_y"].tolist() == pytest.approx(wanted, abs=1e-3)


def test_lpips_is_torchmetrics_from_a_fetched_backbone(tmp_path, monkeypatch, capsys):
    """Without the backbone, one line names the file; SqueezeNet is the smallest of the three."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: 1 / 0)
    fetch = ["fetch-weights", "--weights", "scratch", "--metrics", "psnr", "lpips"]
    fetch += ["--backbone", "squeeze", "--save-dir", str(tmp_path), "--quiet"]
    assert main(fetch) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    file = f"{tmp_path}/hub/checkpoints/{SqueezeNet1_1_Weights.DEFAULT.url.rpartition('/')[2]}"
    assert f"put the file at {file}" in said
    torch.save(squeezenet1_1().state_dict(), file)
    assert main(fetch) == 0
    fetched = json.loads((tmp_path / "weights.json").read_text())
    assert fetched == {"lpips": {"backbone": "squeeze"}}

    output, target = torch.rand(2, 2, 3, 40, 40)
    measures = build_measures(["lpips"], {"backbone": "squeeze"})
    found = image_quality(output, target, measures)["lpips"]
    options = {"net_type": "squeeze", "normalize": True, "reduction": "none"}
    assert torch.equal(found, learned_perceptual_image_patch_similarity(output, target, **options))
    assert image_quality(target[:1], target[:1], measures)["lpips"].tolist() == [0]
    with pytest.raises(UserError, match="lpips: backbone: 'resnet' should be 'alex', 'vgg' or"):
        build_measures(["lpips"], {"backbone": "resnet"})
    with pytest.raises(UserError, match="measure lpips: fails on 4x4 px"):
        image_quality(target[:, :, :4, :4], target[:, :, :4, :4], measures)


def test_dists_is_torchmetrics(monkeypatch):
    """With VGG-16's layers at random, for its weights are half a gigabyte."""
    layers = make_layers(cfgs["D"], batch_norm=False)
    vgg = "torchmetrics.functional.image.dists.vgg16"
    monkeypatch.setattr(vgg, lambda weights: SimpleNamespace(features=layers))
    monkeypatch.setattr(quality, "_on", lambda device, fetch: fetch())
    output, target = torch.rand(2, 2, 3, 16, 16)
    for count in (1, 2):
        found = image_quality(output[:count], target[:count], build_measures(["dists"]))["dists"]
        wanted = deep_image_structure_and_texture_similarity(output[:count], target[:count])
        assert found.tolist() == pytest.approx(wanted.reshape(-1).tolist(), rel=1e-4)
        assert (found > 0).all()


def test_padded_ssim_is_that_of_an_image_in_zeros():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 1, 24, 24, generator=generator)
    output = (0.7 * target + 0.2 * torch.rand(1, 1, 24, 24, generator=generator)).clamp(0, 1)
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def blur(x):
        return conv2d(x, window, padding=5)

    mean_x, mean_y = blur(output), blur(target)
    var_x, var_y = blur(output**2) - mean_x**2, blur(target**2) - mean_y**2
    both = blur(output * target) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    map_ /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    measures = build_measures(["ssim"], {"padded": True})
    assert image_quality(output, target, measures)["ssim"].item() == pytest.approx(
        map_.mean().item(), abs=1e-5
    )
    assert image_quality(output, target)["ssim"].item() != pytest.approx(map_.mean().item())


def test_pooled_psnr_is_that_of_all_pixels():
    decibels = pd.Series([20.0, 40.0])
    found = MEASURES.get("pooled_psnr").average(decibels)
    assert found["value"] == pytest.approx(-10 * math.log10((1e-2 + 1e-4) / 2))
    assert found["low"] < found["value"] < found["high"] and found["n"] == 2
