"""Weights in the order in which the threads of a GPU multiply with them.

A tile has 64 rows, and is what 128 threads hold in some registers each. The rows of tiles lie one behind the other, and
in each the tiles from left to right; in a tile comes first all that thread 0 holds. See `jit_unpacking` for what that
is. A tile of 4 bits has 64 columns, or 32 where these share a scale; a tile of 8 bits has 32. The weight is padded with
zeros to a multiple of 128 rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from fxcompress.kernels.gpu.nibbles import unpack_nibbles

Tensor = torch.Tensor
ROWS = 64
THREADS = 128
WHOLE = 128
# What a pair of floats in one register is multiplied with to hold the same number twice.
TWICE = 0x00010001


@dataclass(frozen=True)
class Tiles:
    """A weight as the kernels read it.

    Attributes:
        words: int32 [row tiles, column tiles, 128 threads, words of a thread].
        scales: float32 [groups, padded rows].
        offsets: int32 [groups, padded rows], None without zero points: what is added to the integers of a row, as a
            pair of floats or as an integer.
        bits: 4 or 8.
        group: columns that share a scale, 0 for all.
        rows, columns: of the weight without padding.
    """

    words: Tensor
    scales: Tensor
    offsets: Tensor | None
    bits: int
    group: int
    rows: int
    columns: int


def tile_columns(bits: int, group: int) -> int:
    """Return how many columns a tile has."""
    return 64 if bits == 4 and group != 32 else 32


def serves(group: int) -> bool:
    """Return whether tiles can have a scale for every `group` columns."""
    return group in (0, 32, 64) or group % WHOLE == 0


def pack_tiles(
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    bits: int,
    group: int,
    columns: int,
    pairs_of: torch.dtype | None,
) -> Tiles:
    """Return a weight in tiles.

    Args:
        weight, scales, zeros, bits, group: as of `linear_weight_only`; zeros are integers.
        columns: K.
        pairs_of: the dtype of the offsets' pairs, bfloat16 or float16; None for integers.
    """
    integers = unpack_nibbles(weight, columns) if bits == 4 else weight
    rows = weight.shape[0]
    padded = pad(integers, (0, -columns % WHOLE, 0, -rows % WHOLE))
    of_groups = _of_groups(scales.float(), padded, group)
    offsets = None
    if zeros is not None:
        offsets = _offsets(_of_groups(zeros.to(torch.int32), padded, group), bits, pairs_of)
    words = (_words_4 if bits == 4 else _words_8)(padded, tile_columns(bits, group))
    return Tiles(words, of_groups, offsets, bits, group, rows, columns)


def interleaved(first: Tensor, second: Tensor) -> Tensor:
    """Return two tensors of as many rows as one: 64 rows of the first, 64 of the second, and so on, padded with 0."""
    parts = [pad(each.view(each.shape[0], -1), (0, 0, 0, -each.shape[0] % ROWS)) for each in (first, second)]
    width = parts[0].shape[1]
    return torch.stack([part.view(-1, ROWS, width) for part in parts], 1).reshape(-1, width)


def _of_groups(values: Tensor, padded: Tensor, group: int) -> Tensor:
    """Return [rows, groups] as [groups, padded rows], with groups for the padding too."""
    rows = values.detach().reshape(values.shape[0], -1)
    groups = -(-padded.shape[1] // group) if group else 1
    return pad(rows, (0, groups - rows.shape[1], 0, padded.shape[0] - rows.shape[0])).t().contiguous()


def _offsets(zeros: Tensor, bits: int, dtype: torch.dtype | None) -> Tensor:
    if dtype is None:
        return -zeros
    exponent = {torch.bfloat16: 128, torch.float16: 1024}[dtype] + 8 if bits == 4 else 0
    pattern = zeros.add(exponent).neg().to(dtype).view(torch.int16).to(torch.int64) & 0xFFFF
    # As torch has it, a number above 2**31 wraps to the int32 of the same bits.
    return (pattern * TWICE).to(torch.int32)


def _words_4(integers: Tensor, width: int) -> Tensor:
    rows, columns = integers.shape
    nibbles = (integers + 8).to(torch.uint8)
    # row tile, warp, h, g, column tile, p, s, c, q, e
    apart = nibbles.view(rows // ROWS, 4, 2, 8, columns // width, width // 32, 2, 2, 4, 2)
    # row tile, column tile, warp, g, q, p, s, then e, c, h within the word
    placed = apart.permute(0, 4, 1, 3, 8, 5, 6, 9, 7, 2).reshape(-1, 2)
    stored = placed[:, 0] | (placed[:, 1] << 4)
    return stored.view(torch.int32).view(rows // ROWS, columns // width, THREADS, width // 16)


def _words_8(integers: Tensor, width: int) -> Tensor:
    rows, columns = integers.shape
    # row tile, warp, h, g, column tile, s, c, q, e
    apart = integers.view(rows // ROWS, 4, 2, 8, columns // width, width // 16, 2, 4, 2)
    # row tile, column tile, warp, g, q, s, c, then e, h within the word
    placed = apart.permute(0, 4, 1, 3, 7, 5, 6, 8, 2).flatten()
    return placed.view(torch.int32).view(rows // ROWS, columns // width, THREADS, width // 8)
