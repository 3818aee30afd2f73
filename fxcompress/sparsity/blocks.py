"""Blocks of a matrix: which of them hold anything, as kernels for block-sparse matrices want to know it.

rows    [outputs, inputs] of a weight, cut into blocks of R outputs by C inputs from the upper left corner
block row, block column    the place of a block; the last ones may be cut off by the edge of the matrix
columns of a block row     the block columns of its blocks that are kept, in order
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BlockRows:
    """Which blocks of a matrix are kept, block row by block row (the index of a BSR matrix).

    Attributes:
        shape: of the matrix.
        block: rows and columns of a block.
        starts: int64 [block rows + 1]: the blocks of block row i are those from `starts[i]` to `starts[i + 1]`.
        columns: int64 [kept blocks]: their block columns, in order within a block row.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    starts: torch.Tensor
    columns: torch.Tensor

    @property
    def balanced(self) -> int | None:
        """How many blocks every block row keeps; None where they keep different numbers."""
        counts = self.starts.diff()
        return int(counts[0]) if len(counts) and bool((counts == counts[0]).all()) else None


def grid_of(shape: tuple[int, int], block: tuple[int, int]) -> tuple[int, int]:
    """Return how many block rows and block columns a matrix has, those at the edges among them."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def block_rows(rows: torch.Tensor, block: tuple[int, int]) -> BlockRows:
    """Return which blocks of a matrix hold anything but zeros.

    Args:
        rows: [outputs, inputs], a weight or its mask.
        block: rows and columns of a block; those at the edges may be smaller.
    """
    kept = pooled(rows.ne(0).float(), block, torch.amax).bool()
    starts = torch.zeros(len(kept) + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = kept.sum(1).cumsum(0)
    height, width = rows.shape
    return BlockRows((height, width), block, starts, kept.nonzero()[:, 1])


def kept_blocks(rows: torch.Tensor, found: BlockRows) -> torch.Tensor:
    """Return [kept blocks, R, C]: the blocks of a matrix that `found` names, in its order; edges filled with zeros."""
    (height, width), (tall, wide) = found.block, grid_of(found.shape, found.block)
    cells = _padded(rows, found.block, 0.0).view(tall, height, wide, width).permute(0, 2, 1, 3)
    places = torch.repeat_interleave(torch.arange(tall, device=rows.device), found.starts.diff())
    return cells[places, found.columns].contiguous()


def spread(kept: torch.Tensor, shape: tuple[int, int], block: tuple[int, int]) -> torch.Tensor:
    """Return [outputs, inputs]: for every element what `kept` [block rows, block columns] says of its block."""
    whole = kept.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return whole[: shape[0], : shape[1]]


def pooled(rows: torch.Tensor, block: tuple[int, int], how: object = torch.amax) -> torch.Tensor:
    """Return [block rows, block columns] of what `how` (over two axes) makes of the elements of every block."""
    tall, wide = grid_of((rows.shape[0], rows.shape[1]), block)
    cells = _padded(rows, block, 0.0).view(tall, block[0], wide, block[1])
    made: torch.Tensor = how(cells, dim=(1, 3))  # type: ignore[operator]
    return made


def block_means(rows: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """Return [block rows, block columns]: the mean of the elements of every block, of those that there are."""
    return pooled(rows, block, torch.sum) / pooled(torch.ones_like(rows), block, torch.sum)


def _padded(rows: torch.Tensor, block: tuple[int, int], value: float) -> torch.Tensor:
    tall, wide = grid_of((rows.shape[0], rows.shape[1]), block)
    missing = (0, wide * block[1] - rows.shape[1], 0, tall * block[0] - rows.shape[0])
    return torch.nn.functional.pad(rows, missing, value=value)
