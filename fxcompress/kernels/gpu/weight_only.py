"""Linears of floats with weights of 8 or 4 bits."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.gpu.dispatching import on_gpu
from fxcompress.kernels.gpu.plain import check_activation, check_stored, dequantized, finished
from fxcompress.kernels.library import define
from fxcompress.kernels.products import activated

Tensor = torch.Tensor


def linear_weight_only(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    """Return `activation(input @ W^T + bias) + residual` where W is `(weight - zeros) * scales`.

    Args:
        input: float16, bfloat16 or float32 [..., K].
        weight: int8 [N, K] for 8 bits; uint8 [N, (K + 1) / 2] for 4, see `pack_nibbles`.
        scales: floats [N] where `group` is 0, else [N, K / group], rounded up.
        zeros: of the shape of the scales, in steps; None for zeros. On a GPU integers are faster than floats.
        bias: [N] or None.
        residual: [..., N] or None.
        bits: 8 or 4.
        group: how many columns share a scale, 0 for all.
        activation: one of `POSTS`.

    Returns:
        [..., N] of the dtype of the input.
    """
    _check(input, weight, scales, bits, group, activation)
    wide = dequantized(weight, scales, zeros, bits, group, input.shape[-1])
    return finished(functional.linear(input.float(), wide), bias, residual, activation, input.dtype)


def linear_gated(
    input: Tensor,  # noqa: A002
    gate: Tensor,
    gate_scales: Tensor,
    gate_zeros: Tensor | None,
    up: Tensor,
    up_scales: Tensor,
    up_zeros: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    """Return `activation(input @ G^T) * (input @ U^T)`: the first half of SwiGLU where the activation is `silu`.

    Args as of `linear_weight_only`, for two weights of the same shape.
    """
    _check(input, gate, gate_scales, bits, group, activation)
    _check(input, up, up_scales, bits, group, activation)
    rows, columns = input.float(), input.shape[-1]
    gates = functional.linear(rows, dequantized(gate, gate_scales, gate_zeros, bits, group, columns))
    values = functional.linear(rows, dequantized(up, up_scales, up_zeros, bits, group, columns))
    return activated(gates, activation).mul_(values).to(input.dtype)


def _check(input: Tensor, weight: Tensor, scales: Tensor, bits: int, group: int, activation: str) -> None:  # noqa: A002
    check_activation(activation)
    check_stored(weight, scales, bits, group, input.shape[-1])


def _fake(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    _check(input, weight, scales, bits, group, activation)
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


def _fake_gated(
    input: Tensor,  # noqa: A002
    gate: Tensor,
    gate_scales: Tensor,
    gate_zeros: Tensor | None,
    up: Tensor,
    up_scales: Tensor,
    up_zeros: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    _check(input, up, up_scales, bits, group, activation)
    return _fake(input, gate, gate_scales, gate_zeros, None, None, bits, group, activation)


define(
    "gpu_linear_weight_only(Tensor input, Tensor weight, Tensor scales, Tensor? zeros, Tensor? bias,"
    " Tensor? residual, int bits, int group, str activation) -> Tensor",
    linear_weight_only,
    _fake,
)
define(
    "gpu_linear_gated(Tensor input, Tensor gate, Tensor gate_scales, Tensor? gate_zeros, Tensor up, Tensor up_scales,"
    " Tensor? up_zeros, int bits, int group, str activation) -> Tensor",
    linear_gated,
    _fake_gated,
)
on_gpu("gpu_linear_weight_only", "running_weight_only.linear_weight_only", linear_weight_only)
on_gpu("gpu_linear_gated", "running_weight_only.linear_gated", linear_gated)
