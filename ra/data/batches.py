"""Which images make a batch, in which order: lists of keys (seed, epoch, index)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ra.data.degradations import VALIDATION, Key, random_generator

EVALUATION_BATCH = 100  # images per batch where no gradients are computed


def epoch_order(length: int, seed: int, epoch: int) -> np.ndarray:
    """The permutation of ``range(length)`` in which an epoch visits the images."""
    return random_generator((seed, epoch, 0), 2).permutation(length)


class TrainingKeys:
    """Batches of keys from step ``start`` to the end of training, one epoch after the other.

    The last, smaller batch of an epoch is kept, except one of a single image: that image joins
    the batch before it, which then has ``batch_size`` + 1 images. Batch norm has no variance over
    one value, which is what one image leaves of a channel where the maps have shrunk to 1x1.

    Args:
        length: number of training images.
        batch_size: images a step, over all processes.
        epochs: passes over the images.
        seed: of order, crops and noise.
        start: step to begin at, counted from 0.
        rank, world: of each batch, process ``rank`` of ``world`` takes every world-th image.
    """

    def __init__(self, length, batch_size, epochs, seed, start=0, rank=0, world=1) -> None:
        self.length, self.batch_size, self.epochs, self.seed = length, batch_size, epochs, seed
        self.start, self.rank, self.world = start, rank, world
        whole, rest = divmod(length, batch_size)
        self.steps_per_epoch = max(1, whole + (rest > 1))

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs - self.start

    def images_in(self, step: int) -> int:
        """Images of the batch at ``step``, over all processes."""
        places = self._places(step % self.steps_per_epoch)
        return places.stop - places.start

    def _places(self, step: int) -> slice:
        """Places of a batch's images in the order of its epoch; ``step`` counts from its start."""
        begin, last = step * self.batch_size, step == self.steps_per_epoch - 1
        return slice(begin, self.length if last else begin + self.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        first_epoch, skip = divmod(self.start, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.length, self.seed, epoch)
            for step in range(skip, self.steps_per_epoch):
                chosen = order[self._places(step)][self.rank :: self.world]
                yield [(self.seed, epoch, int(index)) for index in chosen]
            skip = 0


def validation_keys(
    length: int, batch_size: int = EVALUATION_BATCH, crop: int = 224
) -> list[list[Key]]:
    """Batches of keys that visit every image once, in the manifest's order.

    Images of more than 224 pixels, a side, come in batches as much smaller as they are larger.
    """
    batch_size = max(1, min(batch_size, batch_size * 224**2 // crop**2))
    keys = [(0, VALIDATION, index) for index in range(length)]
    return [keys[begin : begin + batch_size] for begin in range(0, length, batch_size)]


def loader(crops: Dataset, keys, workers: int, device: torch.device) -> DataLoader:
    """A DataLoader over batches of keys; the batches are the same for any number of workers."""
    return DataLoader(
        crops,
        batch_sampler=keys,
        collate_fn=lambda batch: batch,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )
