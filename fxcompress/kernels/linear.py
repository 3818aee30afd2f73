"""Linears with int8 weights: activations quantized row by row, quantized beforehand, or kept in 16 bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from fxcompress.kernels.activations import quantize_all, quantize_rows, split_rows
from fxcompress.kernels.backends import first_available
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.library import define, define_native, made_when_called
from fxcompress.kernels.native import calls as native
from fxcompress.kernels.products import activated, add_bias, onednn_product, product, rows_of, unsigned_product
from fxcompress.kernels.weights import Layers, joined

Tensors = Sequence[torch.Tensor]
Optionals = Sequence[torch.Tensor | None]
# Best first, where the one that was chosen is not there.
DYNAMIC = ("native", "onednn", "int_mm", "float")
ONE_ROW = ("native", "fbgemm", *DYNAMIC[1:])
STATIC = DYNAMIC
# 255 steps of the smallest scale that `quantized.linear_dynamic` takes, and some more.
SMALLEST_RANGE = 255 * 6.2e-5
WEIGHT_ONLY = DYNAMIC


def linear_dynamic(
    input: torch.Tensor,  # noqa: A002
    weights: Tensors,
    scales: Tensors,
    biases: Optionals,
    backend: str,
) -> torch.Tensor:
    """Return the linears of one input whose rows are quantized to 8 bits, each by its own range, side by side.

    Args:
        input: float32 [..., features].
        weights: int8 [outputs, features] of each layer.
        scales: float32 [outputs] of each layer.
        biases: float32 [outputs] or None of each layer.
        backend: what to calculate with; where it is not there, or does not serve for these rows, the next best.

    Returns:
        float32 [..., all outputs].
    """
    layers = joined(weights, scales, biases)
    rows = rows_of(input)
    chosen = first_available(backend, ONE_ROW if len(rows) == 1 else DYNAMIC)
    if chosen == "fbgemm" and not _suits_fbgemm(rows):
        chosen = first_available(DYNAMIC[0], DYNAMIC)
    chosen = suited(chosen, rows)
    if not rows.numel():
        made = rows.new_zeros(len(rows), layers.outputs)
    elif chosen == "fbgemm":
        made = torch.ops.quantized.linear_dynamic.default(rows, layers.fbgemm)
    else:
        made = _dynamic(rows, layers, chosen)
    return made.view(*input.shape[:-1], layers.outputs)


def suited(backend: str, rows: torch.Tensor) -> str:
    """Return `backend`, or the best of the others where it is `native` and `rows` are not for that."""
    if backend != "native" or native.serves(rows.shape[1]):
        return backend
    return first_available("onednn", DYNAMIC[1:])


def _suits_fbgemm(rows: torch.Tensor) -> bool:
    """Whether `quantized.linear_dynamic`, which has one range for all rows, quantizes as all others do.

    It does for one row, but where the range is so small that it takes a larger one.
    """
    if len(rows) != 1 or not rows.numel():
        return False
    low, high = torch.aminmax(rows)
    return max(float(high), 0.0) - min(float(low), 0.0) > SMALLEST_RANGE


def _dynamic(rows: torch.Tensor, layers: Layers, backend: str) -> torch.Tensor:
    if backend == "native":
        return native.linear(native.tokens_of(rows), layers.native, Behind())[0]
    quantized = quantize_rows(rows)
    if backend == "onednn" and len(rows) == 1:
        # One row has one scale and one zero point: all in one call.
        scale, zero = float(quantized.scales), int(quantized.zeros) + 128
        values = quantized.values.view(torch.uint8).bitwise_xor_(128)
        return onednn_product(values, scale, zero, layers, layers.bias)
    made = product(quantized.values, layers, backend)
    made.addr_(quantized.zeros.view(-1), layers.sums, alpha=-1).mul_(quantized.scales)
    return add_bias(made, layers.bias)


def linear_static(
    input: torch.Tensor,  # noqa: A002
    scale: float,
    zero: int,
    weights: Tensors,
    scales: Tensors,
    biases: Optionals,
    post: str,
    output_scale: float | None,
    output_zero: int,
    backend: str,
) -> torch.Tensor:
    """Return the linears of an input that is quantized already, side by side, each with an activation function behind.

    Args:
        input: uint8 [..., features] in steps of `scale` above `zero`.
        post: one of `POSTS`.
        output_scale: the result is uint8 in these steps above `output_zero`; float32 where it is None.
        weights, scales, biases, backend: as of `linear_dynamic`.

    Returns:
        float32 or uint8 [..., all outputs].
    """
    layers = joined(weights, scales, biases)
    rows = rows_of(input)
    shape = (*input.shape[:-1], layers.outputs)
    chosen = suited(first_available(backend, STATIC), rows)
    if not rows.numel():
        return _empty(shape, output_scale, input)
    if chosen == "native":
        behind = Behind(post, outputs=("out",) if output_scale is None else ("bytes",))
        if output_scale is not None:
            behind = behind._replace(fixed=(output_scale, output_zero))
        return native.linear((rows, *native.alike(scale, zero)), layers.native, behind)[0].view(shape)
    if chosen == "onednn":
        bias = layers.bias
        return onednn_product(rows, scale, zero, layers, bias, post, output_scale, output_zero).view(shape)
    made = activated(add_bias(unsigned_product(rows, zero, layers, chosen).mul_(scale), layers.bias), post)
    return (made if output_scale is None else quantize_all(made, output_scale, output_zero)).view(shape)


def _empty(shape: Sequence[int], output_scale: float | None, like: torch.Tensor) -> torch.Tensor:
    return like.new_zeros(shape, dtype=torch.float32 if output_scale is None else torch.uint8)


def linear_weight_only(
    input: torch.Tensor,  # noqa: A002
    weights: Tensors,
    scales: Tensors,
    biases: Optionals,
    backend: str,
) -> torch.Tensor:
    """Return the linears of one input in floats, side by side, with weights of 8 bits.

    `float` keeps the weights as floats beside the integers. The others write each row of the input in 16-bit fixed
    point, as two digits of 8 bits: the product with each digit is exact, and the error is that of rounding to 1 in
    32639 of the largest magnitude of the row.

    Args and result as of `linear_dynamic`.
    """
    layers = joined(weights, scales, biases)
    rows = rows_of(input)
    chosen = suited(first_available(backend, WEIGHT_ONLY), rows)
    shape = (*input.shape[:-1], layers.outputs)
    if chosen == "float" or not rows.numel():
        return functional.linear(rows, layers.floats, layers.bias).view(shape)
    digits, steps = split_rows(rows)
    high, low = product(digits, layers, chosen).chunk(2)
    return add_bias(high.mul_(256).add_(low).mul_(steps), layers.bias).view(shape)


def quantize_u8(input: torch.Tensor, scale: float, zero: int) -> torch.Tensor:  # noqa: A002
    """Return float32 `input` in steps of `scale` above `zero`, uint8: `quantize_per_tensor` in half its time."""
    return quantize_all(input.detach(), scale, zero)


def packed_linears(weights: Tensors, scales: Tensors, biases: Optionals) -> list[torch.Tensor]:
    """Return linears side by side as the native kernels read them, for `native/boxed`; see `Packed.tensors`."""
    return joined(weights, scales, biases).native.tensors


def float_linears(weights: Tensors, scales: Tensors, biases: Optionals) -> list[torch.Tensor]:
    """Return the weights of linears side by side as floats, and their biases where there are any."""
    layers = joined(weights, scales, biases)
    return [layers.floats] if layers.bias is None else [layers.floats, layers.bias]


def _fake(input: torch.Tensor, weights: Tensors, *rest: object) -> torch.Tensor:  # noqa: A002
    return input.new_empty((*input.shape[:-1], sum(weight.shape[0] for weight in weights)), dtype=torch.float32)


def _fake_static(input: torch.Tensor, scale: float, zero: int, weights: Tensors, *rest: object) -> torch.Tensor:  # noqa: A002
    output_scale = rest[3]
    made = _fake(input, weights)
    return made if output_scale is None else made.to(torch.uint8)


_LAYERS = "Tensor[] weights, Tensor[] scales, Tensor?[] biases"
define_native(f"linear_dynamic(Tensor input, {_LAYERS}, str backend) -> Tensor", linear_dynamic, _fake)
define_native(f"linear_weight_only(Tensor input, {_LAYERS}, str backend) -> Tensor", linear_weight_only, _fake)
define_native(
    f"linear_static(Tensor input, float scale, int zero, {_LAYERS}, str post, float? output_scale, int output_zero,"
    " str backend) -> Tensor",
    linear_static,
    _fake_static,
)
for packer in (packed_linears, float_linears):
    define(f"{packer.__name__}({_LAYERS}) -> Tensor[]", packer, made_when_called)
define_native(
    "quantize_u8(Tensor input, float scale, int zero) -> Tensor",
    quantize_u8,
    lambda values, scale, zero: torch.empty_like(values, dtype=torch.uint8),
)
