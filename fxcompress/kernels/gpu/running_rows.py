"""Rows in 8 bits on a GPU, by one kernel."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu import rows as plain
from fxcompress.kernels.gpu.jit_rows import rows_kernel
from fxcompress.kernels.gpu.launching import FP8_FROM, Launch, capability_of, power_of_two
from fxcompress.kernels.products import rows_of

Tensor = torch.Tensor
# A longer row does not fit the registers of a program.
LONGEST = 32768


def quantize_rows(input: Tensor, *, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002
    """See `fxcompress.kernels.gpu.rows.quantize_rows`."""
    return norm_quantize_rows(input, None, None, None, "none", 0.0, dtype=dtype)


def norm_quantize_rows(
    input: Tensor,  # noqa: A002
    other: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    eps: float,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """See `fxcompress.kernels.gpu.rows.norm_quantize_rows`."""
    chosen = dtype or torch.int8
    old = chosen == plain.FP8 and capability_of(input) < FP8_FROM
    if not input.numel() or input.shape[-1] > LONGEST or old:
        return plain.norm_quantize_rows(input, other, weight, bias, kind, eps, dtype=dtype)
    values = torch.empty(input.shape, dtype=chosen, device=input.device)
    scales = torch.empty(input.shape[:-1], dtype=torch.float32, device=input.device)
    launch(rows_of(input), None if other is None else rows_of(other), weight, bias, kind, eps, values, scales).run()
    return values, scales


def launch(
    rows: Tensor,
    other: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    eps: float,
    values: Tensor,
    scales: Tensor,
) -> Launch:
    """Return what writes the rows [M, K] into values and scales of as many elements."""
    count, columns = rows.shape
    weight, bias = (weight, bias if kind == "layer" else None) if kind in plain.NORMS else (None, None)
    given = [rows if each is None else each for each in (other, weight, bias)]
    block = power_of_two(max(columns, 2))
    constants = {
        "KIND": kind,
        "MULTIPLIED": other is not None,
        "WEIGHTED": weight is not None,
        "BIASED": bias is not None,
        "LARGEST": plain.LARGEST[values.dtype],
        "BLOCK": block,
    }
    warps = min(max(block // 1024, 1), 16)
    return Launch(rows_kernel, (count,), (rows, *given, values, scales, columns, eps), constants, warps)
