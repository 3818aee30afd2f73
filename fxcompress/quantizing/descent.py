"""Coordinate descent: each weight in turn takes the integer that is best while all others stay as they are.

The squared error of a layer's outputs never grows by it, whatever it begins with. Behdin et al., QuantEase:
Optimization-based Quantization for Language Models, 2023. It minimises the same form as AdaRound (Nagel et al., 2020),
whose weights may only go up or down by one, and needs no gradients.
"""

from __future__ import annotations

import torch

from fxcompress.quantizing.gptq import BLOCK
from fxcompress.quantizing.grid import Grid, nearest

# The gain of a further round is below a hundredth of the error.
ROUNDS = 4


def descend(
    matrix: torch.Tensor, moments: torch.Tensor, grid: Grid, integers: torch.Tensor, rounds: int = ROUNDS
) -> torch.Tensor:
    """Return integers, as floats, that are no worse for `matrix` than `integers`; all float64 [groups, outputs, width].

    Args:
        moments: float64 [groups, width, width], its diagonal above zero.
    """
    integers = integers.clone()
    slopes = (grid.floats(integers) - matrix) @ moments
    for _ in range(rounds):
        for start in range(0, matrix.shape[2], BLOCK):
            block = slice(start, start + BLOCK)
            moved = _descend_block(block, moments[:, block, block], grid, integers, slopes[:, :, block])
            if moved.any():
                slopes += moved @ moments[:, block]
    return integers


def _descend_block(
    block: slice, moments: torch.Tensor, grid: Grid, integers: torch.Tensor, slopes: torch.Tensor
) -> torch.Tensor:
    """Go through the columns of a block, change its `integers`, and return by how much its floats moved."""
    slopes, moved = slopes.clone(), torch.zeros_like(slopes)
    steps, offsets, own = grid.steps[:, :, block], grid.offsets[:, :, block], integers[:, :, block]
    for place in range(moved.shape[2]):
        step, offset = steps[:, :, place], offsets[:, :, place]
        floats = (own[:, :, place] - offset) * step
        wanted = floats - slopes[:, :, place] / moments[:, place, place, None]
        chosen = nearest(wanted, step, offset, grid.low, grid.high)
        moved[:, :, place] = (chosen - offset) * step - floats
        own[:, :, place] = chosen
        slopes += moved[:, :, place, None] * moments[:, None, place]
    return moved
