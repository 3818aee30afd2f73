"""Linears whose input and weight have 8 bits both: integers, or floats with 4 bits of exponent (e4m3)."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.gpu.dispatching import on_gpu
from fxcompress.kernels.gpu.plain import check_activation, finished
from fxcompress.kernels.library import define
from fxcompress.kernels.products import int_mm, rows_of

Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn


def linear_int8(
    values: Tensor,
    row_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    dtype: torch.dtype,
) -> Tensor:
    """Return `activation((values @ weight^T) * row_scales * scales + bias) + residual`.

    Args:
        values: int8 [..., K].
        row_scales: float32 [...], one for each row of the input, or a single one for all.
        weight: int8 [N, K].
        scales: floats [N].
        bias: [N] or None.
        residual: [..., N] or None.
        activation: one of `POSTS`.
        dtype: float16, bfloat16 or float32.

    Returns:
        [..., N] of `dtype`. The sums of products are exact.
    """
    _check(values, row_scales, weight, torch.int8, activation)
    sums = int_mm(rows_of(values), weight).to(torch.float32)
    return _scaled(sums, values, row_scales, scales, bias, residual, activation, dtype)


def linear_fp8(
    values: Tensor,
    row_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    dtype: torch.dtype,
) -> Tensor:
    """Return what `linear_int8` does, of float8_e4m3fn values and weights, summed in float32."""
    _check(values, row_scales, weight, FP8, activation)
    sums = functional.linear(rows_of(values).float(), weight.float())
    return _scaled(sums, values, row_scales, scales, bias, residual, activation, dtype)


def _scaled(
    sums: Tensor,
    values: Tensor,
    row_scales: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    dtype: torch.dtype,
) -> Tensor:
    sums = sums.mul_(row_scales.reshape(-1, 1)).mul_(scales.float().view(-1))
    flat = None if residual is None else residual.reshape(sums.shape)
    return finished(sums, bias, flat, activation, dtype).view(*values.shape[:-1], weight_rows(scales))


def weight_rows(scales: Tensor) -> int:
    """Return N, of the scales of a weight: one for each row."""
    return scales.numel()


def _check(values: Tensor, row_scales: Tensor, weight: Tensor, dtype: torch.dtype, activation: str) -> None:
    check_activation(activation)
    if values.dtype != dtype or weight.dtype != dtype:
        raise ValueError(f"values and weight are {dtype} both, not {values.dtype} and {weight.dtype}")
    if values.shape[-1] != weight.shape[1]:
        raise ValueError(f"values of {values.shape[-1]} columns meet a weight of {weight.shape[1]}")


def _fake(
    values: Tensor,
    row_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    dtype: torch.dtype,
) -> Tensor:
    _check(values, row_scales, weight, weight.dtype, activation)
    return values.new_empty((*values.shape[:-1], weight.shape[0]), dtype=dtype)


_ARGUMENTS = (
    "Tensor values, Tensor row_scales, Tensor weight, Tensor scales, Tensor? bias, Tensor? residual,"
    " str activation, ScalarType dtype"
)
define(f"gpu_linear_int8({_ARGUMENTS}) -> Tensor", linear_int8, _fake)
define(f"gpu_linear_fp8({_ARGUMENTS}) -> Tensor", linear_fp8, _fake)
on_gpu("gpu_linear_int8", "running_quantized.linear_int8", linear_int8)
on_gpu("gpu_linear_fp8", "running_quantized.linear_fp8", linear_fp8)
