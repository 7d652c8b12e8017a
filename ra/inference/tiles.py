"""How far the pixels of a network see, and how tiles become one image."""

import copy

import numpy as np
import torch
from torch import nn

GRID = 16  # tiles start at multiples of it, so that strides of up to 16 px stay aligned
PROBES = (4, 16, 64)  # lengths of the strips that measure the receptive field, in grids


@torch.inference_mode()
def receptive_reach(network: nn.Module, grid: int = GRID) -> int | None:
    """How many pixels beyond a block of grid x grid its input has an effect; None if unbounded.

    Measured, so that it holds for any architecture: the block is not a number, and neither is then
    whatever depends on it, with any weights.
    """
    probe = copy.deepcopy(network).cpu().double().eval()
    reaches = [_reach_along(probe, axis, grid) for axis in (2, 3)]
    return None if None in reaches else max(reaches)


def _reach_along(probe: nn.Module, axis: int, grid: int) -> int | None:
    for length in (grid * count for count in PROBES):
        shape = [1, 3, grid, grid]
        shape[axis], middle = length, length // 2
        strip = torch.full(shape, 0.5, dtype=torch.float64)
        strip.narrow(axis, middle, grid).fill_(torch.nan)
        output = probe(strip).isnan()[0].any(0).any(3 - axis)
        scale = len(output) // length
        used = output.nonzero().flatten() // scale
        first, last = int(used[0]), int(used[-1])
        if first > 0 and last < length - 1:
            return max(middle - first, last - (middle + grid - 1), 0)
    return None


def fade_in(place: np.ndarray, part: np.ndarray, overlap: int, scale: int) -> None:
    """Write ``part`` over ``place``, faded in over twice ``overlap`` * scale rows."""
    ramp = 2 * overlap * scale
    share = np.linspace(0, 1, ramp, dtype=np.float32)[: len(part), None, None]
    place[:ramp] = np.rint(place[:ramp] * (1 - share) + part[:ramp] * share)
    place[ramp:] = part[ramp:]
