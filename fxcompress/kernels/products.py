"""Products of int8 rows with int8 weights, each backend's way, and what stands behind them."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.activations import signed, unsigned
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.native import calls as native
from fxcompress.kernels.weights import Layers

POSTS = ("none", "relu", "gelu", "gelu_tanh", "silu")
# How `qlinear_pointwise` and `qconv_pointwise` spell them: a name and an algorithm.
ONEDNN_POSTS = {
    "none": ("none", ""),
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "silu": ("swish", ""),
}


def product(values: torch.Tensor, layers: Layers, backend: str) -> torch.Tensor:
    """Return int8 [rows, features] times the weights of `layers` with their scales, float32 [rows, outputs].

    `values` may be written over.
    """
    if backend == "native":
        return native.linear((unsigned(values), *native.alike(1.0, 128)), layers.native_product, Behind())[0]
    if backend == "onednn":
        return onednn_product(unsigned(values), 1.0, 128, layers)
    if backend == "int_mm":
        return int_mm(values, layers.integers).to(torch.float32).mul_(layers.scales)
    return functional.linear(values.to(torch.float32), layers.floats)


def int_mm(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return int8 [rows, features] times int8 [outputs, features], int32 [rows, outputs]."""
    if values.shape[1] == 1:
        # torch 2.13 hands back memory that nothing was written into.
        return values.to(torch.int32) * weight.view(1, -1)
    return torch._int_mm(values, weight.t())


def unsigned_product(values: torch.Tensor, zero: int, layers: Layers, backend: str) -> torch.Tensor:
    """Return uint8 [rows, features] less `zero` times the weights with their scales, float32 [rows, outputs].

    The zero point is taken off in integers: what is left may be small beside what was there.
    """
    if backend != "int_mm":
        return functional.linear(values.to(torch.float32).sub_(zero), layers.floats)
    sums = int_mm(signed(values), layers.integers)
    return sums.sub_(layers.moved(zero)).to(torch.float32).mul_(layers.scales)


def onednn_product(
    values: torch.Tensor,
    scale: float,
    zero: int,
    layers: Layers,
    bias: torch.Tensor | None = None,
    post: str = "none",
    output_scale: float | None = None,
    output_zero: int = 0,
) -> torch.Tensor:
    """Return the linear of uint8 [rows, features] by `qlinear_pointwise`; uint8 where there is an `output_scale`.

    The activations are uint8 always: with int8 torch runs a reference kernel, thousands of times slower.
    """
    weight, zeros = layers.onednn
    name, algorithm = ONEDNN_POSTS[post]
    dtype = torch.float32 if output_scale is None else torch.uint8
    output = 1.0 if output_scale is None else output_scale
    made: torch.Tensor = torch.ops.onednn.qlinear_pointwise.default(
        values, scale, zero, weight, layers.scales, zeros, bias, output, output_zero, dtype, name, [], algorithm
    )
    return made


def add_bias(values: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Add `bias` to the rows of `values`, in place."""
    return values if bias is None else values.add_(bias)


def activated(values: torch.Tensor, post: str) -> torch.Tensor:
    """Return the activation function `post` of float32 `values`, which may be written over."""
    if post == "relu":
        return values.relu_()
    if post in ("gelu", "gelu_tanh"):
        return functional.gelu(values, approximate="tanh" if post == "gelu_tanh" else "none")
    if post == "silu":
        return functional.silu(values, inplace=True)
    return values


def rows_of(values: torch.Tensor) -> torch.Tensor:
    """Return [..., features] as contiguous [rows, features], apart from any gradient."""
    plain = values.detach() if values.requires_grad else values
    rows = plain if plain.dim() == 2 else plain.reshape(-1, plain.shape[-1])
    whole = rows.contiguous()
    # One row may have any stride and counts as contiguous; `_int_mm` then writes nothing into its result (torch 2.13).
    return whole if whole.stride(0) == whole.shape[1] else whole.as_strided(whole.shape, (whole.shape[1], 1))
