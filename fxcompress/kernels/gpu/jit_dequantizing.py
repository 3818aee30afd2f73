"""Triton: a weight of 8 or 4 bits, as it is stored, becomes floats."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def dequantizing_kernel(
    weight: tl.tensor,
    scales: tl.tensor,
    zeros: tl.tensor,
    output: tl.tensor,
    N: tl.tensor,
    K: tl.tensor,
    WIDTH: tl.tensor,
    GROUPS: tl.tensor,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    AFFINE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Write a block of floats.

    Args:
        weight: [N, WIDTH], int8 or two nibbles a byte.
        scales, zeros: [N, GROUPS]; zeros where AFFINE.
        output: [N, K].
    """
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    known = (rows < N)[:, None]
    inside = known & (columns < K)[None, :]
    if BITS == 4:
        bytes_at = tl.program_id(1) * (BLOCK_K // 2) + tl.arange(0, BLOCK_K // 2)
        held = known & (bytes_at < WIDTH)[None, :]
        stored = tl.load(weight + rows[:, None] * WIDTH + bytes_at[None, :], mask=held, other=0)
        integers = tl.reshape(tl.join(stored & 15, stored >> 4), (BLOCK_N, BLOCK_K)).to(tl.float32) - 8.0
    else:
        integers = tl.load(weight + rows[:, None] * WIDTH + columns[None, :], mask=inside, other=0).to(tl.float32)
    of_group = rows[:, None] * GROUPS + (columns // GROUP if GROUP else columns * 0)[None, :]
    if AFFINE:
        integers -= tl.load(zeros + of_group, mask=inside, other=0).to(tl.float32)
    made = integers * tl.load(scales + of_group, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + rows[:, None] * K + columns[None, :], made.to(output.dtype.element_ty), mask=inside)
