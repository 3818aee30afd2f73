"""Rounding that can be trained through: floats in, floats out, as if they had been stored as integers between.

Gradients pass the rounding as if it were not there, and stop where values are clipped (straight through; Bengio et al.,
2013). The length of a step is learned (Esser et al., Learned Step Size Quantization, 2020): it is `scale` times two to
the power of `stretch`, a parameter that begins with zeros. So a step is never negative, what an optimizer adds to
`stretch` is a share of the step whatever its size, and weight decay pulls back to the scale that was calibrated. Where
the step of LSQ is a parameter by itself, plain gradient descent changes it by `rate * g * dL/ds`, with `g` of
1 / sqrt(values that share it * largest integer); the gradient of `stretch` is such that it changes by the same share.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.kernels.library import define, differentiate
from fxcompress.kernels.ranges import choose_sample_range

Tensor = torch.Tensor


def steps_of(scale: Tensor, stretch: Tensor) -> Tensor:
    """Return float32 `scale` times two to the power of `stretch`: the length of a step."""
    return scale.float() * torch.exp2(stretch.detach().float())


def fake_quantize_weight(
    weight: Tensor, scale: Tensor, stretch: Tensor, zero: Tensor | None, axis: int, group: int, low: int, high: int
) -> Tensor:
    """Return `weight` rounded to integers of `low` to `high` and back.

    Args:
        weight: floating, of any shape.
        scale: float32 []: one for all; [channels]: one for each position of `axis`; [channels, groups]: one for each
            `group` of weights of a channel, in row-major order.
        stretch: of the shape of `scale`, learned.
        zero: of the shape of `scale`, the integers that stand for zero; None where all are zero.

    Returns:
        what dequantizing `integers_of` the same gives, in the dtype of `weight`.
    """
    steps, zeros = steps_of(scale, stretch).reshape(-1, 1), _column(zero)
    rows = integer_rows(_rows(weight, scale, axis, group), steps, zeros, low, high)
    return _as_weight(((rows - zeros) * steps).to(weight.dtype), weight, scale, axis)


def integers_of(
    weight: Tensor, scale: Tensor, stretch: Tensor, zero: Tensor | None, axis: int, group: int, low: int, high: int
) -> Tensor:
    """Return int8, of the shape of `weight`: the integers that `fake_quantize_weight` rounds to."""
    steps, zeros = steps_of(scale, stretch).reshape(-1, 1), _column(zero)
    rows = integer_rows(_rows(weight.detach(), scale, axis, group), steps, zeros, low, high)
    return _as_weight(rows.to(torch.int8), weight, scale, axis)


def integer_rows(rows: Tensor, steps: Tensor, zeros: Tensor | float, low: int, high: int) -> Tensor:
    """Return whole numbers as floats of at least 32 bits."""
    return ((_wide(rows) / steps).round() + zeros).clamp(low, high)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _column(zero: Tensor | None) -> Tensor | float:
    return 0.0 if zero is None else zero.float().reshape(-1, 1)


def _rows(weight: Tensor, scale: Tensor, axis: int, group: int) -> Tensor:
    """Return `weight` as [scales, weights that share one]."""
    if scale.dim() == 0:
        return weight.reshape(1, -1)
    moved = weight.movedim(axis, 0)
    return moved.reshape(-1, group) if group else moved.reshape(moved.shape[0], -1)


def _as_weight(rows: Tensor, weight: Tensor, scale: Tensor, axis: int) -> Tensor:
    if scale.dim() == 0:
        return rows.reshape(weight.shape)
    return rows.reshape(weight.movedim(axis, 0).shape).movedim(0, axis).contiguous()


def _learned(gradient: Tensor, steps: Tensor, count: int, largest: int) -> Tensor:
    """Return the gradient of `stretch` for that of the steps; see the top of the file."""
    return gradient / (steps * math.log(2) * math.sqrt(max(count, 1) * largest))


def _slopes(values: Tensor, zeros: Tensor | float, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Return where gradients pass, and what a longer step adds to each result, for `values` in steps."""
    rounded = values.round()
    places = rounded + zeros
    inside = (places >= low) & (places <= high)
    return inside, torch.where(inside, rounded - values, places.clamp(low, high) - zeros)


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, scale, stretch, zero, *ctx.numbers = inputs
    ctx.save_for_backward(weight, scale, stretch, zero)


def _weight_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    weight, scale, stretch, zero = ctx.saved_tensors
    axis, group, low, high = ctx.numbers
    steps = steps_of(scale, stretch).reshape(-1, 1)
    rows = _rows(weight, scale, axis, group)
    inside, slopes = _slopes(_wide(rows) / steps, _column(zero), low, high)
    given = _rows(gradient, scale, axis, group)
    longer = (given * slopes).sum(1, keepdim=True)
    learned = _learned(longer, steps, rows.shape[1], high).reshape(stretch.shape).to(stretch.dtype)
    return (_as_weight(given * inside, weight, scale, axis), None, learned, *[None] * 5)


def fake_quantize_tensor(input: Tensor, scale: Tensor, stretch: Tensor, zero: int, low: int, high: int) -> Tensor:  # noqa: A002
    """Return `input` rounded to integers of `low` to `high` and back, all by one scale and zero point.

    Args:
        input: floating, of any shape.
        scale, stretch: float32 []; see `fake_quantize_weight`.
    """
    step = steps_of(scale, stretch)
    integers = (_in_steps(input, step).round() + zero).clamp(low, high)
    return ((integers - zero) * step).to(input.dtype)


def _in_steps(values: Tensor, step: Tensor) -> Tensor:
    # As `quantize_per_tensor` has it, which multiplies with the reciprocal.
    wide = _wide(values)
    return wide * (1.0 / step.double()).to(wide.dtype)


def _keep_tensor(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, scale, stretch, *ctx.numbers = inputs
    ctx.save_for_backward(values, scale, stretch)


def _tensor_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, scale, stretch = ctx.saved_tensors
    zero, low, high = ctx.numbers
    step = steps_of(scale, stretch)
    inside, slopes = _slopes(_in_steps(values, step), zero, low, high)
    features = values.numel() // max(1, values.shape[0] if values.dim() else 1)
    learned = _learned((gradient * slopes).sum(), step, features, high - low)
    return (gradient * inside, None, learned.to(stretch.dtype), None, None, None)


def fake_quantize_tokens(input: Tensor) -> Tensor:  # noqa: A002
    """Return `input` with each token (its last axis) rounded to int8 by its own range and back; nothing is clipped."""
    ops = quantized_decomposed()
    scales, zeros = ops.choose_qparams_per_token_asymmetric(input, torch.int8)
    integers = ops.quantize_per_token(input, scales, zeros, -128, 127, torch.int8)
    found: Tensor = ops.dequantize_per_token(integers, scales, zeros, -128, 127, torch.int8, input.dtype)
    return found


def fake_quantize_samples(input: Tensor, batched: bool) -> Tensor:  # noqa: A002
    """Return `input` with each index of axis 0 rounded to uint8 by its own range and back; nothing is clipped.

    All of it has one range where it is not `batched`.
    """
    ops, samples = quantized_decomposed(), input if batched else input.unsqueeze(0)
    limits = (*choose_sample_range(samples), 0, 0, 255, torch.uint8)
    integers = ops.quantize_per_channel(samples, *limits)
    found: Tensor = ops.dequantize_per_channel(integers, *limits, out_dtype=input.dtype)
    return found if batched else found.squeeze(0)


def _nothing(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """Keep nothing: gradients pass as they are."""


_SCALE = "Tensor scale, Tensor stretch"
_ANYWHERE = "CompositeExplicitAutograd"

define(
    f"fake_quantize_weight(Tensor weight, {_SCALE}, Tensor? zero, int axis, int group, int low, int high) -> Tensor",
    fake_quantize_weight,
    lambda weight, *_: weight.new_empty(weight.shape),
    key=_ANYWHERE,
)
define(
    f"fake_quantize_tensor(Tensor input, {_SCALE}, int zero, int low, int high) -> Tensor",
    fake_quantize_tensor,
    lambda values, *_: torch.empty_like(values),
    key=_ANYWHERE,
)
define(
    "fake_quantize_tokens(Tensor input) -> Tensor",
    fake_quantize_tokens,
    lambda values: torch.empty_like(values),
    key=_ANYWHERE,
)
define(
    "fake_quantize_samples(Tensor input, bool batched) -> Tensor",
    fake_quantize_samples,
    lambda values, batched: torch.empty_like(values),
    key=_ANYWHERE,
)
differentiate("fake_quantize_weight", _weight_gradients, _keep_weight)
differentiate("fake_quantize_tensor", _tensor_gradients, _keep_tensor)
differentiate("fake_quantize_tokens", lambda ctx, gradient: gradient, _nothing)
differentiate("fake_quantize_samples", lambda ctx, gradient: (gradient, None), _nothing)
