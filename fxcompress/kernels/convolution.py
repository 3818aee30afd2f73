"""Convolution of a quantized image with int8 weights, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from fxcompress.kernels.activations import quantize_all
from fxcompress.kernels.backends import first_available
from fxcompress.kernels.library import define
from fxcompress.kernels.packing import packed
from fxcompress.kernels.products import activated

CONVOLUTION = ("onednn", "float")
# What `qconv_pointwise` can do behind a convolution; the rest is a call of its own.
FUSED = ("none", "relu")


class Geometry(NamedTuple):
    """How the kernel moves over the image."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int


def conv_static(
    input: torch.Tensor,  # noqa: A002
    scale: float,
    zero: int,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    post: str,
    output_scale: float | None,
    output_zero: int,
    backend: str,
) -> torch.Tensor:
    """Return the 2d convolution of an image that is quantized already, with an activation function behind.

    Args:
        input: uint8 [batch, channels, height, width] in steps of `scale` above `zero`.
        weight: int8 [outputs, channels / groups, height, width] with float32 `scales` [outputs].
        bias: float32 [outputs] or None.
        stride, padding, dilation: two numbers each.
        post: one of `POSTS`.
        output_scale: the result is uint8 in these steps above `output_zero`; float32 where it is None.
        backend: what to calculate with; where it is not there, the next best.

    Returns:
        float32 or uint8 [batch, outputs, height, width], channels last in memory.
    """
    geometry = Geometry(stride, padding, dilation, groups)
    chosen = first_available(backend, CONVOLUTION)
    plain = None if bias is None else bias.detach()
    if chosen == "onednn" and post in FUSED:
        return _onednn(input, scale, zero, (weight, scales, plain), geometry, post, output_scale, output_zero)
    if chosen == "onednn":
        made = _onednn(input, scale, zero, (weight, scales, plain), geometry, "none", None, 0)
    else:
        floats = (input.to(torch.float32) - zero).mul_(scale)
        made = torch.conv2d(floats, as_floats(weight, scales), plain, *geometry)
    made = activated(made, post)
    made = made if output_scale is None else quantize_all(made, output_scale, output_zero)
    return made.contiguous(memory_format=torch.channels_last)


def _onednn(
    values: torch.Tensor,
    scale: float,
    zero: int,
    layer: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    geometry: Geometry,
    post: str,
    output_scale: float | None,
    output_zero: int,
) -> torch.Tensor:
    weight, steps, zeros = for_onednn(layer[0], layer[1], scale, zero, geometry)
    output = 1.0 if output_scale is None else output_scale
    dtype = torch.float32 if output_scale is None else torch.uint8
    image = values.contiguous(memory_format=torch.channels_last)
    quantized = (image, scale, zero, weight, steps, zeros, layer[2])
    made: torch.Tensor = torch.ops.onednn.qconv_pointwise.default(
        *quantized, *geometry, output, output_zero, dtype, post, [], ""
    )
    return made


def for_onednn(
    weight: torch.Tensor, scales: torch.Tensor, scale: float, zero: int, geometry: Geometry
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weights packed for `qconv_pointwise`, their scales, and their zero points, all 0."""

    def make() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        plain, steps = weight.detach().contiguous(), scales.detach().float()
        made = torch.ops.onednn.qconv_prepack(plain, steps, scale, zero, *map(list, geometry[:3]), geometry.groups)
        return made, steps, torch.zeros(len(steps), dtype=torch.int64)

    return packed(f"onednn {scale} {zero} {geometry}", (weight, scales), make)


def as_floats(weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the weights as float32, kept for the next call."""
    return packed("float", (weight, scales), lambda: weight.detach().float() * scales.detach().view(-1, 1, 1, 1))


def _fake(input: torch.Tensor, scale: float, zero: int, weight: torch.Tensor, *rest: object) -> torch.Tensor:  # noqa: A002
    stride, padding, dilation, groups = rest[2:6]
    shape = torch.conv2d(
        input.to(torch.float32),
        weight.to(torch.float32),
        None,
        stride,
        padding,
        dilation,
        groups,  # type: ignore[call-overload]
    ).shape
    dtype = torch.float32 if rest[7] is None else torch.uint8
    return torch.empty(shape, dtype=dtype, device=input.device, memory_format=torch.channels_last)


define(
    "conv_static(Tensor input, float scale, int zero, Tensor weight, Tensor scales, Tensor? bias, int[] stride,"
    " int[] padding, int[] dilation, int groups, str post, float? output_scale, int output_zero, str backend)"
    " -> Tensor",
    conv_static,
    _fake,
)
