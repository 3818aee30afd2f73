"""Triton: what stands behind a product, calculated in float32: activation function, bias, residual."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def activated(x: tl.tensor, ACTIVATION: tl.constexpr) -> tl.tensor:
    """Return the activation function of float32 x, by its name in `POSTS`."""
    if ACTIVATION == "relu":
        # Not the maximum, which would make zero of NaN.
        return tl.where(x < 0, 0.0, x)
    if ACTIVATION == "gelu":
        return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    if ACTIVATION == "gelu_tanh":
        # 1 + tanh(u) is 2 * sigmoid(2u).
        return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    if ACTIVATION == "silu":
        return x * tl.sigmoid(x)
    return x


@triton.jit
def scaled(
    sums: tl.tensor,
    row_scales: tl.tensor,
    scales: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    STATIC: tl.constexpr,
) -> tl.tensor:
    """Return sums [rows, columns] as float32 times the scales of rows, one for all where STATIC, and of columns."""
    if STATIC:
        of_rows = tl.load(row_scales)
    else:
        of_rows = tl.load(row_scales + rows, mask=rows < M, other=0.0)[:, None]
    of_columns = tl.load(scales + columns, mask=columns < N, other=0.0).to(tl.float32)
    return sums.to(tl.float32) * of_rows * of_columns[None, :]


@triton.jit
def store_finished(
    sums: tl.tensor,
    output: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    M: tl.tensor,
    N: tl.tensor,
    ACTIVATION: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
) -> None:
    """Write `activation(sums + bias) + residual` of float32 [rows, columns] into an output of N columns."""
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    at = rows.to(tl.int64)[:, None] * N + columns[None, :]
    if BIASED:
        sums += tl.load(bias + columns, mask=columns < N, other=0.0).to(tl.float32)[None, :]
    made = activated(sums, ACTIVATION)
    if RESIDUAL:
        made += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + at, made.to(output.dtype.element_ty), mask=inside)
