"""Max pooling of a quantized image, alone or behind a convolution: the largest of bytes is the byte of the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fxcompress.kernels.backends import available
from fxcompress.kernels.convolution import conv_static
from fxcompress.kernels.geometry import Geometry, channels_last
from fxcompress.kernels.library import define_native
from fxcompress.kernels.native import convolution as native


def max_pool_u8(
    input: torch.Tensor,  # noqa: A002
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Return the maxima of windows of uint8 [batch, channels, height, width], channels last in memory.

    Args:
        kernel, stride, padding, dilation: two numbers each; padding is at most half of the kernel.
    """
    if available("native"):
        return native.max_pool(channels_last(input), kernel, Geometry(stride, padding, dilation, 1))
    # Torch's own operator takes no bytes of more than 127 pixels.
    made = torch.max_pool2d(input.to(torch.float32), list(kernel), list(stride), list(padding), list(dilation))
    return channels_last(made.to(torch.uint8))


def conv_pool_static(
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
    output_scale: float,
    output_zero: int,
    pool_kernel: Sequence[int],
    pool_stride: Sequence[int],
    pool_padding: Sequence[int],
    pool_dilation: Sequence[int],
    backend: str,
) -> torch.Tensor:
    """Return `max_pool_u8` of `conv_static`: in one call what lies between is no tensor, where there is one.

    Returns:
        uint8 [batch, outputs, height, width], channels last in memory.
    """
    behind = (post, None, 0.0, 0, "none", output_scale, output_zero)
    layer = (weight, scales, bias, stride, padding, dilation, groups)
    made = conv_static(input, scale, zero, *layer, *behind, backend)
    return max_pool_u8(made, pool_kernel, pool_stride, pool_padding, pool_dilation)


def _fake(input: torch.Tensor, kernel: Sequence[int], *geometry: Sequence[int]) -> torch.Tensor:  # noqa: A002
    shape = torch.max_pool2d(input.to(torch.float32), kernel, *geometry).shape  # type: ignore[arg-type]
    return torch.empty(shape, dtype=torch.uint8, device=input.device, memory_format=torch.channels_last)


define_native(
    "max_pool_u8(Tensor input, int[] kernel, int[] stride, int[] padding, int[] dilation) -> Tensor",
    max_pool_u8,
    _fake,
)


def _fake_pooled(
    input: torch.Tensor,  # noqa: A002
    scale: float,
    zero: int,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    *rest: Any,
) -> torch.Tensor:
    between = torch.conv2d(input.to(torch.float32), weight.to(torch.float32), None, *rest[:4])
    return _fake(between, *rest[7:11])


define_native(
    "conv_pool_static(Tensor input, float scale, int zero, Tensor weight, Tensor scales, Tensor? bias, int[] stride,"
    " int[] padding, int[] dilation, int groups, str post, float output_scale, int output_zero, int[] pool_kernel,"
    " int[] pool_stride, int[] pool_padding, int[] pool_dilation, str backend) -> Tensor",
    conv_pool_static,
    _fake_pooled,
)
