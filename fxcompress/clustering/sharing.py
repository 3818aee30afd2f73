"""A weight as a codebook and the places of its elements there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fxcompress.clustering.kmeans import Start, centres_of, nearest
from fxcompress.kernels.shared_weights import rows_of_a_block, shared_weights

# A place is a byte, and one of them stands for zero.
MOST = 255


@dataclass(frozen=True)
class Shared:
    """What is stored of a weight.

    Attributes:
        codebook: [blocks, values], of the weight's dtype; a block that needs fewer values repeats its last one.
        indices: uint8 of the weight's shape: 0 for zero, i for value i - 1 of the block.
    """

    codebook: torch.Tensor
    indices: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.codebook.nbytes + self.indices.nbytes

    def floats(self) -> torch.Tensor:
        """Return the weight that is looked up."""
        return shared_weights(self.codebook, self.indices)


def share(
    weight: torch.Tensor, count: int, start: Start, rows: int | None, generator: torch.Generator | None = None
) -> Shared:
    """Return `weight` with at most `count` values that are not zero in each block of rows. Zeros stay zero.

    Args:
        weight: finite floats of any shape.
        rows: how many places of the first axis share a codebook; all where None.
        generator: what `random` draws from.
    """
    length = weight.shape[0]
    blocks = 1 if rows is None else -(-length // rows)
    made = [_block(part, count, start, generator) for part in weight.detach().split(rows_of_a_block(length, blocks))]
    width = max(1, max(len(centres) for centres, _ in made))
    codebook = torch.stack([_padded(centres, width) for centres, _ in made])
    return Shared(codebook.to(weight.dtype), torch.cat([indices for _, indices in made]))


def _block(
    part: torch.Tensor, count: int, start: Start, generator: torch.Generator | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rising centres of what is not zero, and the indices."""
    filled = part != 0
    indices = torch.zeros(part.shape, dtype=torch.uint8, device=part.device)
    if not filled.any():
        return part.new_zeros(0, dtype=torch.float64), indices
    centres = centres_of(part[filled], count, start, generator)
    indices[filled] = (nearest(part[filled], centres) + 1).to(torch.uint8)
    return centres, indices


def _padded(centres: torch.Tensor, width: int) -> torch.Tensor:
    last = centres[-1:] if len(centres) else centres.new_zeros(1)
    return torch.cat([centres, last.expand(width - len(centres))])
