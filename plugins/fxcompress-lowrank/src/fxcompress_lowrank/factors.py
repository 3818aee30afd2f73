"""Two thin matrices in place of one: the mathematics, without any graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# A share of the mean eigenvalue that is added to all of them: directions that the calibration data hardly uses still
# count a little, since other data may use them.
DAMPING = 1e-4


@dataclass(frozen=True)
class Decomposition:
    """A matrix as `left @ diag(values) @ right`, its terms in falling order of importance.

    Attributes:
        left: float64 [rows, k].
        values: float64 [k], the singular values, k the smaller of rows and columns.
        right: float64 [k, columns].
    """

    left: torch.Tensor
    values: torch.Tensor
    right: torch.Tensor

    def rank_for(self, energy: float) -> int:
        """Return how many terms hold the share `energy` of the sum of the squared singular values; at least one."""
        held = self.values.square().cumsum(0)
        return min(int((held < energy * held[-1]).sum()) + 1, len(self.values))

    def kept(self, rank: int) -> float:
        """Return the share of the sum of the squared singular values that the first `rank` terms hold."""
        squares = self.values.square()
        return float(squares[:rank].sum() / squares.sum()) if squares.any() else 1.0

    def factors(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float64 matrices [rank, columns] and [rows, rank] whose product in reverse is the best of this rank.

        Each takes the root of the singular values, so that both have entries of like size: a later quantization and
        fine-tuning find neither very large nor very small ones.
        """
        root = self.values[:rank].sqrt()
        return root[:, None] * self.right[:rank], self.left[:, :rank] * root


def decompose(matrix: torch.Tensor, gram: torch.Tensor | None = None) -> Decomposition:
    """Return the singular value decomposition of `matrix`, or the one that is best for the data behind `gram`.

    Cut after `r` terms, the plain one differs least from `matrix` W of all matrices of rank r (C. Eckart and G. Young,
    The approximation of one matrix by another of lower rank, 1936). With the Gram matrix X X^T of the inputs, what
    differs least is what is computed, W X: the singular values are those of W S, where S S^T = X X^T, and S is divided
    out again (X. Wang et al., SVD-LLM: truncation-aware singular value decomposition for large language model
    compression, 2024).

    Args:
        matrix: [rows, columns], any floating dtype; computed in float64.
        gram: float64 [columns, columns], symmetric, or None.
    """
    wide = matrix.detach().double()
    if gram is None or not gram.any():
        return Decomposition(*torch.linalg.svd(wide, full_matrices=False))
    # By eigenvalues and not by Cholesky, which fails where the data does not span the space.
    values, vectors = torch.linalg.eigh(gram)
    scale = (values.clamp(min=0) + DAMPING * values.mean()).sqrt()
    left, singular, right = torch.linalg.svd(wide @ (vectors * scale), full_matrices=False)
    return Decomposition(left, singular, (right / scale) @ vectors.T)
