"""Triton: adds up the sums of parts of K, and does what stands behind the product."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_finishing import activated, scaled, store_finished


@triton.jit
def reduction_kernel(
    sums: tl.tensor,
    row_scales: tl.tensor,
    scales: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    output: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    PADDED: tl.tensor,
    SCALED: tl.constexpr,
    STATIC: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SPLIT_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Write a block of [M, N] of sums [SPLIT_K, M, PADDED], which are added in the same order always.

    Args:
        row_scales, scales: as of `scaled`, where SCALED.
        GATED: of 128 columns of sums the first 64 are gates, the others values.
    """
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    stored = columns // 64 * 128 + columns % 64 if GATED else columns
    at = rows.to(tl.int64)[:, None] * PADDED + stored[None, :]
    made = _total(sums + at, inside, M, PADDED, SPLIT_K, BLOCK_M, BLOCK_N)
    if SCALED:
        made = scaled(made, row_scales, scales, rows, columns, M, N, STATIC)
    if GATED:
        values = _total(sums + at + 64, inside, M, PADDED, SPLIT_K, BLOCK_M, BLOCK_N)
        made = activated(made, ACTIVATION) * values
        store_finished(made, output, bias, residual, rows, columns, M, N, "none", False, False)
    else:
        store_finished(made, output, bias, residual, rows, columns, M, N, ACTIVATION, BIASED, RESIDUAL)


@triton.jit
def _total(
    at: tl.tensor,
    inside: tl.tensor,
    M: tl.tensor,
    PADDED: tl.tensor,
    SPLIT_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> tl.tensor:
    # Integers are added up exactly.
    SUMS: tl.constexpr = tl.int32 if at.dtype.element_ty == tl.int32 else tl.float32
    total = tl.zeros((BLOCK_M, BLOCK_N), SUMS)
    for split in tl.static_range(SPLIT_K):
        total += tl.load(at + tl.cast(split, tl.int64) * M * PADDED, mask=inside, other=0).to(SUMS)
    return total
