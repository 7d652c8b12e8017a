"""Fixed values: a change of the numbers that images, batches and noise are made of fails here.

If a change is meant, say so in CHANGELOG, replace the values and run the experiments again.
"""

import hashlib

import numpy as np
import pytest
import torch

from ra.data.batches import TrainingKeys, epoch_order
from ra.data.degradations import PAPER_TASKS, VALIDATION, build_task, random_generator
from ra.data.splits import Crops, open_split

# (seed, epoch, index), stream: two uniform numbers, then two normal ones of 32 bits.
RANDOM = [
    ((0, 0, 0), 0, [0.011546754286331562, 0.24154919656271812], [0.5438765287, -0.2004869729]),
    ((0, 0, 0), 1, [0.3035680343067586, 0.8487087496857769], [-0.4588875473, 0.3866130114]),
    ((0, 0, 0), 2, [0.48891550429583774, 0.32397495814126875], [-1.3109058142, -1.4664555788]),
    ((0, 1, 0), 0, [0.033359525848671634, 0.6759717634657245], [0.2729276121, -0.3498892188]),
    ((0, 1, 1), 0, [0.4539757043909821, 0.7537912494175952], [0.6164773703, 2.6201579571]),
    ((3, 2, 17), 1, [0.9499921012896927, 0.25361647081018945], [1.3416030407, 0.4833496809]),
    ((0, VALIDATION, 0), 1, [0.9221109653542592, 0.718171604575881], [-2.8899307251, 0.2048785239]),
    (
        (0, VALIDATION, 1281166),
        1,
        [0.27723137241902807, 0.16862502743037433],
        [-0.5874103904, 2.6478915215],
    ),
    (
        (2**60 - 1, 5, 3),
        2,
        [0.6867396943200976, 0.6939930870491566],
        [-0.9757310748, -0.5460484624],
    ),
]


@pytest.mark.parametrize(("key", "stream", "uniform", "normal"), RANDOM)
def test_random_numbers(key, stream, uniform, normal):
    generator = random_generator(key, stream)
    assert generator.random(2).tolist() == uniform
    drawn = generator.standard_normal(2, dtype=np.float32)
    np.testing.assert_allclose(drawn, normal, rtol=1e-7)


def test_the_order_of_an_epoch():
    assert epoch_order(10, 0, 0).tolist() == [3, 4, 2, 8, 7, 9, 1, 0, 5, 6]
    assert epoch_order(10, 0, 1).tolist() == [1, 7, 5, 9, 4, 0, 3, 8, 6, 2]
    assert epoch_order(10, 1, 0).tolist() == [2, 4, 9, 0, 7, 3, 5, 8, 6, 1]


def digest(pixels) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


# Task: its first and its last pixel, and the digest of all.
DEGRADED = {
    "sr": ([27, 25, 3], [228, 215, 180], "8c4196d996c71c58"),
    "dn": ([0, 0, 0.01965028234], [0.8183386326, 0.8590856791, 0.8922053576], "b37a8bf52d7f6e28"),
    "jpeg": ([15, 0, 16], [243, 228, 189], "4363e5d266ce3921"),
}


def test_every_task_of_the_paper_is_pinned():
    """The package's other tasks are pinned in test_degradations.py: no table comes from them."""
    assert sorted(PAPER_TASKS) == sorted(DEGRADED)


@pytest.mark.parametrize("task", DEGRADED)
def test_degradations(task):
    y, x = np.mgrid[:16, :16]
    image = np.stack([(x * 16 + y) % 256, (y * 16) % 256, (x * y) % 256]).astype(np.uint8)
    degraded = build_task(task).degrade(torch.from_numpy(image)[None], [(0, 1, 7)])
    first, last, whole = DEGRADED[task]
    assert degraded[0, :, 0, 0].tolist() == pytest.approx(first, rel=1e-6)
    assert degraded[0, :, -1, -1].tolist() == pytest.approx(last, rel=1e-6)
    assert digest(degraded) == whole


def test_resized_pixels_and_training_crops(prepared):
    """Resizing to 20 px, then the crops and flips of the first batch of the second epoch."""
    split = open_split(prepared, "train")
    assert digest(split.image(0)) == "59c09182487d106c"
    keys = list(TrainingKeys(len(split), 5, 2, seed=3))[5]
    batch = Crops(split, None).__getitems__(keys)
    assert batch.index.tolist() == [6, 10, 3, 15, 12]
    assert batch.mirrored.tolist() == [0, 1, 0, 0, 1]
    assert digest(batch.target) == "3d405497ce733fe5"
