"""Triton: a row of activations in 8 bits, behind the norm or the activation function that makes it."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_finishing import activated

# A float32 that this is added to has no room for fractions: they are rounded to the nearest, and halves to even.
WHOLE = tl.constexpr(12582912.0)
# The smallest number whose reciprocal is finite and which no processor flushes to zero.
_SMALLEST = tl.constexpr(1.1754943508222875e-38)


@triton.jit
def rows_kernel(
    input: tl.tensor,  # noqa: A002
    other: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    values: tl.tensor,
    scales: tl.tensor,
    K: tl.tensor,
    eps: tl.tensor,
    KIND: tl.constexpr,
    MULTIPLIED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BIASED: tl.constexpr,
    LARGEST: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Quantize one row.

    Args:
        input, other: [rows, K]; other where MULTIPLIED.
        weight, bias: [K] of a norm, where WEIGHTED and BIASED.
        values: int8 or float8_e4m3fn [rows, K]; scales: float32 [rows].
        KIND: `layer`, `rms`, or an activation function.
        LARGEST: the largest magnitude of the values.
        BLOCK: a power of two, K or more.
    """
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < K
    x = tl.load(input + row * K + columns, mask=inside, other=0.0).to(tl.float32)
    if KIND == "layer":
        x = tl.where(inside, x - tl.sum(x, 0) / K, 0.0)
    if KIND == "layer" or KIND == "rms":
        x = x / tl.sqrt(tl.sum(x * x, 0) / K + eps)
    else:
        x = activated(x, KIND)
    if WEIGHTED:
        x = x * tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        x = x + tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    if MULTIPLIED:
        x = x * tl.load(other + row * K + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), 0) / LARGEST, _SMALLEST)
    steps = x * (1.0 / scale)
    if values.dtype.element_ty == tl.int8:
        steps = (steps + WHOLE) - WHOLE
    steps = tl.minimum(tl.maximum(steps, -LARGEST), LARGEST)
    tl.store(values + row * K + columns, steps.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)
