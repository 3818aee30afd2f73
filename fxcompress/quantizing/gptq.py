"""GPTQ: weights are rounded one input after the other, and those still to come make up for the error so far.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, Accurate Post-Training Quantization for Generative Pre-trained Transformers,
2022. The squared error of a layer's outputs is a quadratic form of the error of its weights, with the second moments of
its inputs as the matrix. The inputs of the largest moment come first. That order stays expressible with groups, since
the scales of all groups are chosen before.
"""

from __future__ import annotations

import torch

from fxcompress.quantizing.grid import Grid, nearest

# Columns whose error is passed on one by one; those behind get it in one product.
BLOCK = 128


def damped(moments: torch.Tensor, share: float) -> torch.Tensor:
    """Return float64 [groups, width, width] with `share` of the mean of its diagonal added to the diagonal."""
    ridge = share * moments.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    # Inputs that are always zero say nothing: each weight then counts the same.
    ridge = torch.where(ridge > 0, ridge, torch.ones_like(ridge))
    return moments + torch.diag_embed(ridge.expand(moments.shape[:2]))


def gptq(matrix: torch.Tensor, moments: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return the integers, as floats, that `matrix` becomes.

    Args:
        matrix: float64 [groups, outputs, width].
        moments: float64 [groups, width, width], positive definite: see `damped`.
    """
    order = moments.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    across = order[:, None, :].expand_as(matrix)
    left, steps, offsets = (one.gather(2, across) for one in (matrix, grid.steps, grid.offsets))
    factor = inverse_factor(permuted(moments, order))
    integers = torch.empty_like(left)
    for start in range(0, left.shape[2], BLOCK):
        block = slice(start, start + BLOCK)
        limits = (steps[:, :, block], offsets[:, :, block], grid.low, grid.high)
        integers[:, :, block], errors = _rounded_block(left[:, :, block], factor[:, block, block], *limits)
        left[:, :, start + BLOCK :] -= errors @ factor[:, block, start + BLOCK :]
    return integers.gather(2, order.argsort(1)[:, None, :].expand_as(matrix))


def permuted(moments: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Return [groups, width, width] with rows and columns in the `order` [groups, width]."""
    rows = moments.gather(1, order[:, :, None].expand_as(moments))
    return rows.gather(2, order[:, None, :].expand_as(moments))


def inverse_factor(moments: torch.Tensor) -> torch.Tensor:
    """Return the upper factor U of the inverse: `moments.inverse() == U' U`."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _rounded_block(
    left: torch.Tensor, factor: torch.Tensor, steps: torch.Tensor, offsets: torch.Tensor, low: int, high: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the integers of a block of columns, and what each column's error is to the columns behind the block."""
    left, integers, errors = left.clone(), torch.empty_like(left), torch.empty_like(left)
    for place in range(left.shape[2]):
        step, offset = steps[:, :, place], offsets[:, :, place]
        chosen = nearest(left[:, :, place], step, offset, low, high)
        error = (left[:, :, place] - (chosen - offset) * step) / factor[:, place, place, None]
        integers[:, :, place], errors[:, :, place] = chosen, error
        left[:, :, place + 1 :] -= error[:, :, None] * factor[:, None, place, place + 1 :]
    return integers, errors
