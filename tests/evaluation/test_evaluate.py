"""Metrics against hand-computed cases and scikit-image; one pass of P for all R's."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from skimage.metrics import structural_similarity

from ra.data.splits import Batch
from ra.evaluation.evaluate import accuracy, evaluate, image_quality, mean, recognition, summarise

CPU = torch.device("cpu")


class Counting(torch.nn.Module):
    """Answers with the mean colours as logits; counts the images it was given."""

    images = 0

    def forward(self, x):
        self.images += len(x)
        return x.mean(dim=(2, 3))


class Passing(Counting):
    def forward(self, x):
        super().forward(x)
        return x


@pytest.fixture
def batches():
    torch.manual_seed(0)
    parts = torch.rand(2, 4, 3, 16, 16)
    return [
        Batch((p * 0.9), p, torch.tensor([0, 1, 2, 0]), torch.arange(4) + 4 * n)
        for n, p in enumerate(parts)
    ]


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


def test_recognition_of_hand_made_logits():
    logits = torch.tensor([[9.0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0]])
    result = recognition(logits, torch.tensor([0, 5]))
    assert result["top1"].tolist() == [1, 0]
    assert result["top5"].tolist() == [1, 0]
    assert result["prediction"].tolist() == [0, 0]
    assert result["recognition_loss"][0] == pytest.approx(math.log(1 + 5 * math.exp(-9)), rel=1e-3)


def test_p_runs_once_per_image_whatever_the_number_of_rs(batches):
    processor, judges = Passing(), {"a": Counting(), "b": Counting()}
    result = evaluate(processor, None, judges, batches, 1, CPU)
    assert processor.images == 8 and judges["a"].images == judges["b"].images == 8
    assert result.images["index"].tolist() == list(range(8))


def test_r_reads_t_but_quality_is_that_of_p(batches):
    class Inverting(torch.nn.Module):
        def forward(self, x):
            return 1 - x

    direct = evaluate(Passing(), None, {"r": Counting()}, batches, 1, CPU).images
    read = evaluate(Passing(), Inverting(), {"r": Counting()}, batches, 1, CPU).images
    assert direct.psnr.equals(read.psnr)
    assert not direct["r:prediction"].equals(read["r:prediction"])


def test_strips_are_input_output_target(batches):
    strips = evaluate(Passing(), None, {"r": Counting()}, batches, 1, CPU, strips=2).strips
    assert torch.equal(strips[0], strips[1])
    assert torch.equal(strips[2][0], batches[0].target[0])


def test_accuracy_has_a_wilson_interval():
    """15 of 20: centre (p + z2/2n) / (1 + z2/n), z = 1.96, worked out by hand."""
    result = accuracy(pd.Series([1] * 15 + [0] * 5))
    assert (result["value"], result["n"]) == (75, 20)
    assert result["low"] == pytest.approx(53.13, abs=0.01)
    assert result["high"] == pytest.approx(88.81, abs=0.01)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (931, 1853)])
def test_the_interval_is_scipys(hits, n):
    result = accuracy(pd.Series([1] * hits + [0] * (n - hits)))
    theirs = binomtest(hits, n).proportion_ci(method="wilson")
    ours = (result["low"], result["high"])
    assert ours == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-9)


def test_means_have_a_normal_interval():
    result = mean(pd.Series([1.0, 2.0, 3.0, 4.0]))
    assert result["value"] == 2.5
    assert result["high"] - 2.5 == pytest.approx(1.96 * math.sqrt(5 / 3) / 2)


def test_the_summary_is_tidy(batches):
    images = evaluate(None, None, {"a": Counting()}, batches, 1, CPU).images
    tidy = summarise(images, {"task": "dn", "p_model": "no_processing"})
    assert set(tidy[tidy.evaluation_r == "none"].metric) == {"psnr", "ssim", "image_loss"}
    assert set(tidy[tidy.evaluation_r == "a"].metric) == {"top1", "top5", "recognition_loss"}
    assert (tidy.n == 8).all() and (tidy.task == "dn").all()
