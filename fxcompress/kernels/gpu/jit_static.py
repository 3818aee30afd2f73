"""Triton: a tensor in int8 by one scale and one zero point."""

from __future__ import annotations

import triton
import triton.language as tl

from fxcompress.kernels.gpu.jit_rows import WHOLE


@triton.jit
def quantize_kernel(
    input: tl.tensor,  # noqa: A002
    output: tl.tensor,
    COUNT: tl.tensor,
    reciprocal: tl.tensor,
    zero: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Write BLOCK of COUNT values as int8 of `value * reciprocal + zero`, rounded half to even."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < COUNT
    steps = tl.load(input + at, mask=inside, other=0.0).to(tl.float32) * reciprocal
    # Whatever lies farther away becomes -128 or 127 all the same.
    steps = tl.minimum(tl.maximum(steps, -512.0), 512.0)
    whole = (steps + WHOLE) - WHOLE + zero
    tl.store(output + at, tl.minimum(tl.maximum(whole, -128.0), 127.0).to(tl.int8), mask=inside)
