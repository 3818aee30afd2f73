"""Linears of 8 bits by 8 on a GPU."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu import quantized as plain
from fxcompress.kernels.gpu.configurations import Config, configuration
from fxcompress.kernels.gpu.jit_eight_bits import eight_bits_kernel
from fxcompress.kernels.gpu.launching import FP8_FROM, Launch, capability_of, or_other, run_all
from fxcompress.kernels.gpu.reducing import reduction
from fxcompress.kernels.products import rows_of

Tensor = torch.Tensor
# From so many rows on they fill the left side of a tensor core.
FULL = 64
STRIPES = 8


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
    """See `fxcompress.kernels.gpu.quantized.linear_int8`."""
    if not values.numel() or not weight.numel():
        return plain.linear_int8(values, row_scales, weight, scales, bias, residual, activation, dtype)
    return _linear("int8", values, row_scales, weight, scales, bias, residual, activation, dtype)


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
    """See `fxcompress.kernels.gpu.quantized.linear_fp8`; before compute capability 8.9 by floats of 32 bits."""
    if not values.numel() or not weight.numel() or capability_of(values) < FP8_FROM:
        return plain.linear_fp8(values, row_scales, weight, scales, bias, residual, activation, dtype)
    return _linear("fp8", values, row_scales, weight, scales, bias, residual, activation, dtype)


def _linear(
    kernel: str,
    values: Tensor,
    row_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: str,
    dtype: torch.dtype,
) -> Tensor:
    rows = rows_of(values)
    output = torch.empty((*values.shape[:-1], weight.shape[0]), dtype=dtype, device=values.device)
    config = configuration(kernel, capability_of(values), len(rows), *weight.shape)
    flat = None if residual is None else residual.contiguous()
    made = launches(rows, row_scales.contiguous(), weight.contiguous(), scales, bias, flat, output, activation, config)
    run_all(made)
    return output


def launches(
    rows: Tensor,
    row_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    output: Tensor,
    activation: str,
    config: Config,
) -> list[Launch]:
    """Return what writes the linear of rows [M, K] into an output of M * N elements; all are contiguous."""
    (count, columns), outputs = rows.shape, weight.shape[0]
    split = min(config.split_k, -(-columns // config.block_k))
    sums_of = torch.int32 if rows.dtype == torch.int8 else torch.float32
    sums = output if split == 1 else torch.empty((split, count, outputs), dtype=sums_of, device=output.device)
    static = row_scales.numel() == 1 and count != 1
    constants = {
        "ACTIVATION": activation,
        "BIASED": bias is not None,
        "RESIDUAL": residual is not None,
        "STATIC": static,
        "WHOLE_K": columns % config.block_k == 0,
        "WEIGHT_LEFT": config.block_m < FULL,
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "SPLIT_K": split,
        "STRIPES": STRIPES,
        "STAGES": config.num_stages,
    }
    grid = (-(-outputs // config.block_n) * -(-count // config.block_m), split)
    read = (rows, weight, row_scales, scales, or_other(bias, output), or_other(residual, output))
    launch = Launch(
        eight_bits_kernel, grid, (*read, sums, count, outputs, columns), constants, config.num_warps, config.num_stages
    )
    if split == 1:
        return [launch]
    return [launch, reduction(sums, (row_scales, scales), bias, residual, output, activation)]
