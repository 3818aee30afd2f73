"""Triton: rows of floats times a weight of 8 or 4 bits in tiles."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_finishing import activated, store_finished
from fxcompress.kernels.gpu.jit_unpacking import unpacked


@triton.jit
def weight_only_kernel(
    input: tl.tensor,  # noqa: A002
    words: tl.tensor,
    scales: tl.tensor,
    offsets: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    output: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    K: tl.tensor,
    PADDED: tl.tensor,
    TILES: tl.tensor,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    AFFINE: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    WHOLE_K: tl.constexpr,
    PTX: tl.constexpr,
    TILE_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """Sum up a block of the result, transposed: the weight is on the left, where an operand may come from registers.

    Args:
        input: [M, K].
        words, scales, offsets: as of `Tiles`; PADDED rows, TILES columns of tiles.
        output: [M, N], or, where SPLIT_K is above 1, float32 [SPLIT_K, M, PADDED] sums that nothing was added to.
        GATED: the rows of the weight are interleaved: 64 gates, 64 values.
        WHOLE_K: BLOCK_K divides K.
        PTX: as of `unpacked`.
    """
    TILE_WORDS: tl.constexpr = 4 * TILE_K * BITS // 2
    HELD: tl.constexpr = TILE_K * BITS // 64
    PART: tl.constexpr = BLOCK_K if GROUP == 0 or GROUP > BLOCK_K else GROUP
    PARTS: tl.constexpr = BLOCK_K // PART
    COLUMN_TILES: tl.constexpr = PART // TILE_K
    DTYPE: tl.constexpr = input.dtype.element_ty
    block_n, block_m, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    rows = block_m * BLOCK_M + tl.arange(0, BLOCK_M)
    weight_rows = block_n * BLOCK_N + tl.arange(0, BLOCK_N)
    threads = tl.arange(0, 2 * BLOCK_N)
    # The tile's row and the thread in it; then the tile's column; then the word of the thread.
    tile_rows = (block_n * (BLOCK_N // 64) + threads // 128).to(tl.int64) * TILES
    word_at = words + (tile_rows * TILE_WORDS + threads % 128 * HELD)[None, :, None]
    word_at += (tl.arange(0, BLOCK_K // TILE_K) * TILE_WORDS)[:, None, None] + tl.arange(0, HELD)[None, None, :]
    columns = tl.arange(0, PART)
    input_at = input + rows.to(tl.int64)[:, None] * K + columns[None, :]
    row_of_thread = block_n * BLOCK_N + threads // 32 * 16 + threads % 32 // 4
    groups = (tl.arange(0, PARTS) * PADDED)[None, :]
    inside = (rows < M)[:, None]
    sums = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
    blocks = tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K)
    for block in tl.range(split * blocks, tl.minimum((split + 1) * blocks, tl.cdiv(K, BLOCK_K)), num_stages=STAGES):
        packed = tl.load(word_at + block * (BLOCK_K // TILE_K * TILE_WORDS))
        # One load for all parts is one wait, and one place to find it in.
        by_part = tl.permute(tl.reshape(packed, (PARTS, COLUMN_TILES, 2 * BLOCK_N, HELD)), (1, 2, 3, 0))
        group = tl.cast(block * BLOCK_K // GROUP if GROUP else 0, tl.int64) * PADDED
        low = packed
        high = packed
        of_parts = by_part
        if GROUP:
            of_parts = tl.load(scales + group + weight_rows[:, None] + groups)
        if AFFINE:
            low = tl.load(offsets + group + row_of_thread[:, None] + groups)
            high = tl.load(offsets + group + 8 + row_of_thread[:, None] + groups)
        for part in tl.static_range(PARTS):
            first = block * BLOCK_K + part * PART
            mask = inside if WHOLE_K else inside & (first + columns < K)[None, :]
            x = tl.load(input_at + first, mask=mask, other=0.0)
            own_low = low
            own_high = high
            if AFFINE:
                own_low = _part(low, PARTS, part)[None, :, None]
                own_high = _part(high, PARTS, part)[None, :, None]
            weight = unpacked(_part(by_part, PARTS, part), own_low, own_high, DTYPE, BITS, AFFINE, PTX)
            if GROUP:
                scale = _part(of_parts, PARTS, part)
                sums += tl.dot(weight, tl.trans(x), input_precision="ieee") * scale[:, None]
            else:
                sums = tl.dot(weight, tl.trans(x), sums, input_precision="ieee")
    if GROUP == 0:
        sums *= tl.load(scales + weight_rows)[:, None]
    if SPLIT_K > 1:
        at = (split.to(tl.int64) * M + rows)[:, None] * PADDED + weight_rows[None, :]
        tl.store(output + at, tl.trans(sums), mask=inside)
    elif GATED:
        apart = tl.permute(tl.reshape(sums, (BLOCK_N // 128, 2, 64, BLOCK_M)), (0, 2, 3, 1))
        gates, values = tl.split(apart)
        made = tl.reshape(activated(gates, ACTIVATION) * values, (BLOCK_N // 2, BLOCK_M))
        outputs = block_n * (BLOCK_N // 2) + tl.arange(0, BLOCK_N // 2)
        store_finished(tl.trans(made), output, bias, residual, rows, outputs, M, N, "none", False, False)
    else:
        store_finished(tl.trans(sums), output, bias, residual, rows, weight_rows, M, N, ACTIVATION, BIASED, RESIDUAL)


@triton.jit
def _part(values: tl.tensor, PARTS: tl.constexpr, part: tl.constexpr) -> tl.tensor:
    """Return the place `part` along the last axis, of PARTS: 1, 2 or 4."""
    SHAPE: tl.constexpr = values.shape[:-1]
    if PARTS == 1:
        return tl.reshape(values, SHAPE)
    elif PARTS == 2:  # noqa: RET505
        even, odd = tl.split(values)
        return even if part == 0 else odd
    else:
        even, odd = tl.split(tl.reshape(values, SHAPE + (2, 2)))
        first, second = tl.split(odd if part % 2 else even)
        return first if part < 2 else second
