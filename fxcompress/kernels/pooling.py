"""Max pooling of an image that is quantized: the largest of bytes is the byte of the largest."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.backends import available
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


def _fake(input: torch.Tensor, kernel: Sequence[int], *geometry: Sequence[int]) -> torch.Tensor:  # noqa: A002
    shape = torch.max_pool2d(input.to(torch.float32), kernel, *geometry).shape  # type: ignore[arg-type]
    return torch.empty(shape, dtype=torch.uint8, device=input.device, memory_format=torch.channels_last)


define_native(
    "max_pool_u8(Tensor input, int[] kernel, int[] stride, int[] padding, int[] dilation) -> Tensor",
    max_pool_u8,
    _fake,
)
