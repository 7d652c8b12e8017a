"""Floating-point operations of the ImageNet preset's trainings, counted without a GPU or data.

    python tools/cost.py

Forward and backward passes of P, R and T for one image at 224 px, times images and epochs.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from ra.data.degradations import build_task
from ra.data.splits import Batch
from ra.models.architectures import build_recognizer
from ra.models.processors import build_processor
from ra.models.recognizers import freeze
from ra.settings.shared import PAPER_RECOGNIZERS
from ra.training.objectives import OBJECTIVES

IMAGES, EPOCHS, SIDE = 1_281_167, 6, 224
# Plain needs no R; unsupervised RA is trained with the first one only.
MODES = {"plain": 1, "ra": 5, "ra_transformer": 5, "ra_unsupervised": 1}


def operations(task: str, mode: str, arch: str) -> int:
    """Of one image's step; on the meta device, so nothing is computed."""
    with torch.device("meta"):
        scale = build_task(task).scale
        networks = {"processor": build_processor("SRResNet", scale)}
        if mode == "ra_transformer":
            networks["transformer"] = build_processor("pix2pix", 1)
        recognizer = freeze(build_recognizer(arch, 1000))
        objective = OBJECTIVES.get(mode)(recognizer=recognizer, weight=1.0, **networks)
        label = torch.zeros(1, dtype=torch.long)
        small = torch.zeros(1, 3, SIDE // scale, SIDE // scale)
        batch = Batch(small, torch.zeros(1, 3, SIDE, SIDE), label, label)
        with FlopCounterMode(display=False) as counter:
            objective.losses(batch)["total"].backward()
    return counter.get_total_flops()


def main() -> None:
    """Print the cost of each training."""
    total = 0
    print("| task | objective | R | GFLOP an image | 1e18 FLOP |\n|---|---|---|---:|---:|")
    for task in ("sr", "dn", "jpeg"):
        for mode, count in MODES.items():
            for arch in PAPER_RECOGNIZERS[:count]:
                each = operations(task, mode, arch)
                total += each * IMAGES * EPOCHS
                shown = "-" if mode == "plain" else arch
                whole = each * IMAGES * EPOCHS / 1e18
                print(f"| {task} | {mode} | {shown} | {each / 1e9:.0f} | {whole:.2f} |")
    print(f"\nall: {total / 1e18:.0f}e18 FLOP")


if __name__ == "__main__":
    main()
