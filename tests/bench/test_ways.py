"""Both ways that a comparison times must do the same work: they give the same numbers."""

from copy import deepcopy

import pytest
import torch

from ra.bench.measure import interleaved, spread, verdict
from ra.bench.released import ReleasedImages, evaluate_released, train_released
from ra.bench.scene import Options, Work, objective_of, prepared, recognizer_of, training_crops
from ra.bench.steps import folded
from ra.bench.training import bare, complete
from ra.data.batches import TrainingKeys, loader, validation_keys
from ra.data.degradations import build_task
from ra.data.splits import Crops, ImageSplit
from ra.evaluation.evaluate import evaluate
from ra.settings.shared import Schedule

CPU = torch.device("cpu")
WORK = Work(crop=32, batch_size=4, steps=3)
TASKS = ("sr", "dn", "jpeg")


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> Options:
    names = ("squeezenet1_1", "shufflenet_v2_x0_5")
    return Options(
        folder=tmp_path_factory.mktemp("bench"),
        device=CPU,
        works=(WORK,),
        repeats=1,
        tasks=TASKS,
        objectives=("ra",),
        arch=names[0],
        recognizers=names,
        channels=4,
        blocks=1,
        precision="fp32",
        workers=0,
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_train_takes_as_many_steps_as_the_bare_way(options, steps):
    crops = training_crops(options, Work(crop=32, batch_size=4, steps=steps), "dn")
    assert len(crops) == 4 * steps


def test_the_bare_step_trains_as_train_does(options):
    schedule = Schedule(epochs=2, batch_size=4, lr=1e-3, lr_steps=())
    crops = training_crops(options, WORK, "dn")
    objectives = [objective_of(options, "ra", "dn") for _ in range(2)]
    complete(objectives[0], crops, schedule, options, checkpoint_seconds=0)
    keys = TrainingKeys(len(crops), 4, 2, seed=0)
    batches = [batch.to(CPU) for batch in loader(crops, keys, 0, CPU)]
    bare(objectives[1], batches, schedule, CPU)
    ours, limit = (o.modules["processor"].state_dict() for o in objectives)
    assert all(torch.equal(ours[name], limit[name]) for name in ours)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_released_way_sees_the_same_images(options, task, split):
    data = prepared(options, 32, 12)
    crops, images = (
        Crops(ImageSplit(data, split), build_task(task)),
        ReleasedImages(data, split, task),
    )
    keys = [[(0, 1, 5), (0, 3, 7)]] if split == "train" else validation_keys(len(crops), 4)[:1]
    batch = crops.__getitems__(keys[0]).to(CPU)
    # PIL's bicubic rounds intermediate lines as well; the others are the same bytes.
    tolerance = 1.01 / 255 if task == "sr" else 1e-6
    for position, key in enumerate(keys[0]):
        degraded, target, label = images.item(key)
        assert torch.equal(target, batch.target[position]) and label == batch.label[position]
        assert (degraded - batch.input[position]).abs().max() <= tolerance


@pytest.mark.parametrize("task", TASKS)
def test_the_released_way_trains_to_the_same_losses(options, task):
    schedule = Schedule(epochs=2, batch_size=4, lr=1e-3, lr_steps=(1,))
    crops = training_crops(options, WORK, task)
    images = ReleasedImages(prepared(options, 32, 12), "train", task)
    theirs = train_released(objective_of(options, "ra", task), images, schedule, CPU)
    ours = complete(objective_of(options, "ra", task), crops, schedule, options, 60)
    for mine, other in zip(ours, theirs, strict=True):
        for loss in ("total", "image", "recognition"):
            assert mine[loss] == pytest.approx(other[loss], rel=1e-2 if task == "sr" else 1e-4)
    assert ours[0]["image"] != ours[1]["image"]
    assert 0 <= theirs[0]["top1"] <= theirs[0]["top5"] <= 100 and theirs[0]["psnr"] > 0


def test_the_released_way_runs_the_recognizer_for_plain_processing(options):
    """With its gradients, as the script does; the processor learns the same as ours."""
    crops = training_crops(options, WORK, "dn")
    images = ReleasedImages(prepared(options, 32, 12), "train", "dn")
    schedule = Schedule(epochs=1, batch_size=4, lr=1e-3)
    objective = objective_of(options, "ra", "dn")
    objective.weight = 0.0
    theirs = train_released(objective, images, schedule, CPU)
    ours = complete(objective_of(options, "plain", "dn"), crops, schedule, options, 60)
    assert ours[0]["image"] == pytest.approx(theirs[0]["image"], rel=1e-4)
    assert all(weight.grad is not None for weight in objective.recognizer.parameters())


@pytest.mark.parametrize("task", ["dn", "jpeg"])
def test_the_released_way_judges_alike(options, task):
    """In batches of one image even its PSNR, which it takes from a batch's mean MSE."""
    data = prepared(options, 32, 12)
    judges = {arch: recognizer_of(options, arch) for arch in options.recognizers}
    processor = objective_of(options, "plain", task).modules["processor"]
    images = ReleasedImages(data, "val", task)
    theirs = evaluate_released(deepcopy(processor), judges, images, 1, CPU)
    crops = Crops(ImageSplit(data, "val"), build_task(task))
    batches = loader(crops, validation_keys(len(crops), 5), 0, CPU)
    ours = evaluate(processor, None, judges, batches, 1, CPU).images
    for arch in judges:
        for metric in ("top1", "top5"):
            assert theirs[arch][metric] == pytest.approx(100 * ours[f"{arch}:{metric}"].mean())
        assert theirs[arch]["recognition_loss"] == pytest.approx(
            ours[f"{arch}:recognition_loss"].mean(), rel=1e-4
        )
        for metric in ("psnr", "ssim", "image_loss"):
            assert theirs[arch][metric] == pytest.approx(ours[metric].mean(), rel=1e-4)


def test_a_folded_r_answers_as_before(options):
    judge = recognizer_of(options, "resnet18")
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(folded(judge)(images), judge(images), atol=1e-4)


def test_ways_take_turns_after_one_untimed_call_each():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleaved(ways, 2, CPU)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_paired_times_and_best_of_the_shortest():
    ratio = spread([2.0, 3.0, 4.0], [1.0, 1.0, 4.0])
    assert ratio == {"min": 1.0, "median": 2.0, "max": 3.0, "best": 2.0}
    assert verdict(ratio["best"], 2, at_least=True) == {"target": ">= 2", "met": "yes"}
    assert verdict(ratio["best"], 1.5, at_least=False) == {"target": "<= 1.5", "met": "no"}
