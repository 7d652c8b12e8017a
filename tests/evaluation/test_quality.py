"""Measures against hand-computed cases and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ra.errors import UserError
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
