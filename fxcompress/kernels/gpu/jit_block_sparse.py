"""Triton: rows of floats times a weight of which some blocks are stored."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_finishing import store_finished


@triton.jit
def block_sparse_kernel(
    input: tl.tensor,  # noqa: A002
    blocks: tl.tensor,
    columns: tl.tensor,
    starts: tl.tensor,
    scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    output: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    K: tl.tensor,
    KEPT: tl.tensor,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDE: tl.constexpr,
    FREE: tl.constexpr,
    SCALED: tl.constexpr,
    WHOLE_K: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LEFT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """Sum up a part of a block row of the result; several blocks of the weight are one step along K.

    Args:
        input: [M, K].
        blocks: [kept, ROWS, WIDTH]; WIDE is WIDTH, or the next power of two.
        columns: int32 [kept], the block columns; where FREE, block row i begins at starts[i], else at i * KEPT.
        output: [M, N], or, where SPLIT_K is above 1, float32 [SPLIT_K, M, N] sums that nothing was added to.
        WHOLE_K: WIDTH divides K.
        LEFT: the weight is on the left of the product.
    """
    DTYPE: tl.constexpr = input.dtype.element_ty
    GATHERED: tl.constexpr = BLOCK_K // WIDE
    PARTS: tl.constexpr = (ROWS + BLOCK_N - 1) // BLOCK_N
    place, split = tl.program_id(0), tl.program_id(2)
    block_row = place // PARTS
    row = place % PARTS * BLOCK_N + tl.arange(0, BLOCK_N)
    # A row beyond its block is one beyond the weight, which nothing is written of.
    outputs = tl.where(row < ROWS, block_row * ROWS + row, N)
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    begin = block_row * KEPT
    end = begin + KEPT
    if FREE:
        begin = tl.load(starts + block_row)
        end = tl.load(starts + block_row + 1)
    k = tl.arange(0, BLOCK_K)
    within = k % WIDE
    weight_at = blocks + row[:, None] * WIDTH + within[None, :]
    input_at = input + rows.to(tl.int64)[:, None] * K
    inside, stored = (rows < M)[:, None], ((row < ROWS)[:, None] & (within < WIDTH)[None, :])
    shape: tl.constexpr = (BLOCK_N, BLOCK_M) if LEFT else (BLOCK_M, BLOCK_N)
    sums = tl.zeros(shape, tl.float32)
    steps = tl.cdiv(end - begin, GATHERED)
    each = tl.cdiv(steps, SPLIT_K)
    for step in tl.range(split * each, tl.minimum((split + 1) * each, steps), num_stages=STAGES):
        which = begin + step * GATHERED + k // WIDE
        there = which < end
        feature = tl.load(columns + which, mask=there, other=0) * WIDTH + within
        if WIDE == WIDTH:
            # What is gathered comes in runs, which a thread loads at once.
            feature = tl.max_contiguous(tl.multiple_of(feature, WIDE), WIDE)
        mask = there & (within < WIDTH) if WHOLE_K else there & (within < WIDTH) & (feature < K)
        weight = tl.load(weight_at + which.to(tl.int64)[None, :] * (ROWS * WIDTH), stored & there[None, :], 0)
        x = tl.load(input_at + feature[None, :], inside & mask[None, :], 0.0)
        if LEFT:
            sums = tl.dot(weight.to(DTYPE), tl.trans(x), sums, input_precision="ieee")
        else:
            sums = tl.dot(x, tl.trans(weight.to(DTYPE)), sums, input_precision="ieee")
    if LEFT:
        made = tl.trans(sums)
    else:
        made = sums
    if SCALED:
        made *= tl.load(scales + outputs, mask=outputs < N, other=0.0).to(tl.float32)[None, :]
    if SPLIT_K > 1:
        at = (split.to(tl.int64) * M + rows)[:, None] * N + outputs[None, :]
        tl.store(output + at, made, mask=inside & (outputs < N)[None, :])
    else:
        store_finished(made, output, bias, residual, rows, outputs, M, N, ACTIVATION, BIASED, RESIDUAL)
