"""Weights of 4 bits as they are stored: two a byte, the first in the low half, each plus 8."""

from __future__ import annotations

import torch

LOWEST, HIGHEST = -8, 7


def pack_nibbles(values: torch.Tensor) -> torch.Tensor:
    """Return int8 [rows, columns] in -8..7 as uint8 [rows, (columns + 1) / 2].

    The nibble n stands for n - 8. Where the number of columns is odd, a zero is added.
    """
    shifted = values.to(torch.int16).add(-LOWEST).to(torch.uint8)
    if shifted.shape[1] % 2:
        shifted = torch.nn.functional.pad(shifted, (0, 1), value=-LOWEST)
    return shifted[:, 0::2] | (shifted[:, 1::2] << 4)


def unpack_nibbles(stored: torch.Tensor, columns: int) -> torch.Tensor:
    """Return the int8 [rows, columns] that were packed."""
    halves = torch.stack([stored & 15, stored >> 4], -1).flatten(1)[:, :columns]
    return halves.to(torch.int8).add_(LOWEST)
