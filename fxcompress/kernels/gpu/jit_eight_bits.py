"""Triton: rows of 8 bits times a weight of 8 bits, integers or floats, each row with a scale on either side."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_finishing import scaled, store_finished


@triton.jit
def eight_bits_kernel(
    values: tl.tensor,
    weight: tl.tensor,
    row_scales: tl.tensor,
    scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    output: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    K: tl.tensor,
    ACTIVATION: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    STATIC: tl.constexpr,
    WHOLE_K: tl.constexpr,
    WEIGHT_LEFT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    STRIPES: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """Calculate a block of the result.

    Args:
        values: [M, K], int8 or float8_e4m3fn; weight: [N, K] of the same.
        row_scales: float32 [M], or one where STATIC; scales: [N].
        output: [M, N], or, where SPLIT_K is above 1, [SPLIT_K, M, N] sums without scales: int32 of integers, else
            float32.
        WEIGHT_LEFT: the result is calculated transposed: few rows do not fill the left side of a tensor core.
        STRIPES: how many blocks of rows are done before the next block of the weight, so that both stay in the cache.
    """
    SUMS: tl.constexpr = tl.int32 if values.dtype.element_ty == tl.int8 else tl.float32
    block_m, block_n = _place(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, STRIPES)
    split = tl.program_id(1)
    rows = block_m * BLOCK_M + tl.arange(0, BLOCK_M)
    outputs = block_n * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, BLOCK_K)
    left = values + rows.to(tl.int64)[:, None] * K + columns[None, :]
    right = weight + outputs.to(tl.int64)[:, None] * K + columns[None, :]
    inside, known = (rows < M)[:, None], (outputs < N)[:, None]
    if WEIGHT_LEFT:
        sums = tl.zeros((BLOCK_N, BLOCK_M), SUMS)
    else:
        sums = tl.zeros((BLOCK_M, BLOCK_N), SUMS)
    steps = tl.cdiv(K, BLOCK_K)
    each = tl.cdiv(steps, SPLIT_K)
    for step in tl.range(split * each, tl.minimum((split + 1) * each, steps), num_stages=STAGES):
        first = step * BLOCK_K
        within = (first + columns < K)[None, :]
        x = tl.load(left + first, mask=inside if WHOLE_K else inside & within, other=0.0)
        w = tl.load(right + first, mask=known if WHOLE_K else known & within, other=0.0)
        # The tensor cores add up floats of 8 bits with 14 bits: no longer than for a block.
        if WEIGHT_LEFT:
            sums = tl.dot(w, tl.trans(x), sums, max_num_imprecise_acc=BLOCK_K, out_dtype=SUMS)
        else:
            sums = tl.dot(x, tl.trans(w), sums, max_num_imprecise_acc=BLOCK_K, out_dtype=SUMS)
    if WEIGHT_LEFT:
        sums = tl.trans(sums)
    if SPLIT_K > 1:
        at = (split.to(tl.int64) * M + rows)[:, None] * N + outputs[None, :]
        tl.store(output + at, sums, mask=inside & (outputs < N)[None, :])
    else:
        wide = scaled(sums, row_scales, scales, rows, outputs, M, N, STATIC)
        store_finished(wide, output, bias, residual, rows, outputs, M, N, ACTIVATION, BIASED, RESIDUAL)


@triton.jit
def _place(
    program: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    STRIPES: tl.constexpr,
) -> tl.tuple:
    """Return the block of rows and the block of outputs of a program."""
    blocks_m, blocks_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    stripe = program // (STRIPES * blocks_n)
    height = tl.minimum(blocks_m - stripe * STRIPES, STRIPES)
    within = program % (STRIPES * blocks_n)
    return stripe * STRIPES + within % height, within // height
