"""One pass of the processor for all recognizers; metrics against hand-computed cases."""

import math

import pytest
import torch

from ra.data.splits import Batch
from ra.evaluation.evaluate import evaluate, summarise
from ra.evaluation.quality import MEASURES, build_measures, measure
from ra.models.classifiers import Classifying

CPU = torch.device("cpu")


class Counting(Classifying):
    """Answers with the mean colours as logits; counts the images it was given."""

    images = 0

    def answers(self, images):
        self.images += len(images)
        return images.mean(dim=(2, 3))


class Passing(torch.nn.Module):
    images = 0

    def forward(self, x):
        self.images += len(x)
        return x


@pytest.fixture
def batches():
    torch.manual_seed(0)
    parts = torch.rand(2, 4, 3, 16, 16)
    return [
        Batch((p * 0.9), p, torch.tensor([0, 1, 2, 0]), torch.arange(4) + 4 * n)
        for n, p in enumerate(parts)
    ]


def test_recognition_of_hand_made_logits():
    logits = torch.tensor([[9.0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0]])
    batch = Batch(None, None, torch.tensor([0, 5]), None)
    result = Classifying().compare(logits, batch)
    assert result["top1"].tolist() == [1, 0]
    assert result["top5"].tolist() == [1, 0]
    assert result["prediction"].tolist() == [0, 0]
    assert result["recognition_loss"][0] == pytest.approx(math.log(1 + 5 * math.exp(-9)), rel=1e-3)


def test_each_image_is_processed_once_whatever_the_number_of_recognizers(batches):
    processor, recognizers = Passing(), {"a": Counting(), "b": Counting()}
    result = evaluate(processor, None, recognizers, batches, 1, CPU)
    assert processor.images == 8
    assert [network.images for network in recognizers.values()] == [8, 8]
    assert result.images["index"].tolist() == list(range(8))


def test_recognizers_see_the_transformer_but_quality_is_that_of_the_processor(batches):
    class Inverting(torch.nn.Module):
        def forward(self, x):
            return 1 - x

    direct = evaluate(Passing(), None, {"r": Counting()}, batches, 1, CPU).images
    changed = evaluate(Passing(), Inverting(), {"r": Counting()}, batches, 1, CPU).images
    assert direct.psnr.equals(changed.psnr)
    assert not direct["r:prediction"].equals(changed["r:prediction"])


def test_strips_are_input_output_target(batches):
    strips = evaluate(Passing(), None, {"r": Counting()}, batches, 1, CPU, strips=2).strips
    assert torch.equal(strips[0], strips[1])
    assert torch.equal(strips[2][0], batches[0].target[0])


def test_the_summary_is_tidy(batches):
    images = evaluate(None, None, {"a": Counting()}, batches, 1, CPU).images
    tidy = summarise(images, {"task": "dn", "p_model": "no_processing"})
    assert set(tidy[tidy.evaluation_r == "none"].metric) == {
        "psnr",
        "pooled_psnr",
        "ssim",
        "image_loss",
    }
    assert set(tidy[tidy.evaluation_r == "a"].metric) == {"top1", "top5", "recognition_loss"}
    assert (tidy.n == 8).all() and (tidy.task == "dn").all()


def test_a_users_measure_is_a_column_and_a_tidy_row(batches):
    @measure("largest", unit="1", higher_is_better=False)
    def largest(output, target):
        return (output - target).abs().amax(dim=(1, 2, 3))

    try:
        found = evaluate(Passing(), None, {}, batches, 1, CPU, measures=build_measures(["largest"]))
    finally:
        del MEASURES._entries["largest"]
    assert list(found.images) == ["index", "label", "largest"]
    assert (found.images.largest - 0.1).abs().max() < 0.01
    tidy = summarise(found.images, {})
    assert tidy[["evaluation_r", "metric", "n"]].values.tolist() == [["none", "largest", 8]]


def test_the_duration_is_a_number_not_prose(batches, capsys):
    found = evaluate(None, None, {}, batches, 1, CPU)
    assert found.seconds > 0 and "took" not in capsys.readouterr().err
