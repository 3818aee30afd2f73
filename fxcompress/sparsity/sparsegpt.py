"""SparseGPT: weights go one input after the other, and those still to come make up for what is lost.

Frantar, Alistarh: SparseGPT, Massive Language Models Can Be Accurately Pruned in One-Shot, 2023. The squared error of a
layer's outputs is a quadratic form of the error of its weights, with the second moments of its inputs as the matrix.
What goes is chosen a few columns at a time, by what removing a weight costs once those behind it make up for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fxcompress.quantizing.gptq import inverse_factor

# Columns whose error is passed on one by one; those behind get it in one product.
BLOCK = 128

# Says what is kept of some columns: from their costs [groups, outputs, columns] and the place of the first to bool.
Choose = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Chooser:
    """How columns are chosen: `step` of them at a time, by `choose`."""

    choose: Choose
    step: int = BLOCK


def sparsegpt(matrix: torch.Tensor, moments: torch.Tensor, chooser: Chooser) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `matrix` becomes, and what of it is kept, bool of its shape.

    Args:
        matrix: float64 [groups, outputs, width].
        moments: float64 [groups, width, width], positive definite: see `gptq.damped`.
    """
    left, keep = matrix.clone(), torch.ones_like(matrix, dtype=torch.bool)
    factor = inverse_factor(moments)
    size = chooser.step * -(-BLOCK // chooser.step)
    for start in range(0, matrix.shape[2], size):
        block = slice(start, start + size)
        errors = _prune_block(left[:, :, block], keep[:, :, block], factor[:, block, block], chooser, start)
        left[:, :, start + size :] -= errors @ factor[:, block, start + size :]
    return left, keep


def _prune_block(
    left: torch.Tensor, keep: torch.Tensor, factor: torch.Tensor, chooser: Chooser, start: int
) -> torch.Tensor:
    """Prune a block of columns in place, and return what each column's error is to the columns behind the block."""
    errors, diagonal = torch.zeros_like(left), factor.diagonal(dim1=1, dim2=2)[:, None]
    for place in range(left.shape[2]):
        if place % chooser.step == 0:
            some = slice(place, place + chooser.step)
            keep[:, :, some] = chooser.choose((left[:, :, some] / diagonal[:, :, some]).square(), start + place)
        errors[:, :, place] = left[:, :, place].masked_fill(keep[:, :, place], 0) / diagonal[:, :, place]
        left[:, :, place].masked_fill_(~keep[:, :, place], 0)
        left[:, :, place + 1 :] -= errors[:, :, place, None] * factor[:, None, place, place + 1 :]
    return errors


def saliencies(matrix: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Return [groups, outputs, width]: the root of what removing each weight alone costs, if all others make up for it.

    Hassibi, Stork: Second order derivatives for network pruning: Optimal Brain Surgeon, 1992.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))
    return matrix.abs() / inverse.diagonal(dim1=1, dim2=2).sqrt()[:, None]
