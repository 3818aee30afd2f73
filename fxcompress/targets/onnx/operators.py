"""Operators that stand in a graph for those of ONNX which ATen lacks. They run, so that a rewritten graph does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

_LIBRARY = torch.library.Library("fxcompress_onnx", "FRAGMENT")


def _define(schema: str, implementation: Callable[..., Any]) -> None:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")


def dequantize_blocks(
    integers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, block: int
) -> torch.Tensor:
    """Return float32 [features, outputs] of int8 `integers`, with a scale and a zero point for each `block` of rows.

    `scales` and `zeros` are [features / block, outputs].
    """
    wide = integers.float()
    if zeros is not None:
        wide = wide - zeros.float().repeat_interleave(block, 0)
    return wide * scales.repeat_interleave(block, 0)


def dynamic_quantize(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return `values` as uint8 by their range with 0 in it, the float32 scale [], and the uint8 zero point []."""
    low, high = values.amin().clamp(max=0), values.amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = (-low / scale).round().clamp(0, 255)
    return ((values / scale).round() + zero).clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


def matmul_integer(left: torch.Tensor, right: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """Return int32 the product of uint8 `left` [..., n] minus `zero` [] and int8 `right` [n, m]."""
    # Sums of products of bytes are exact in float64.
    return ((left.double() - zero.double()) @ right.double()).to(torch.int32)


def convolve_integer(
    image: torch.Tensor,
    weight: torch.Tensor,
    zero: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """Return int32 the convolution of uint8 `image` [batch, channels, ...] minus `zero` [] with int8 `weight`."""
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[image.dim() - 3]
    centred = image.double() - zero.double()
    return convolve(centred, weight.double(), None, stride, padding, dilation, groups).to(torch.int32)


_define("dequantize_blocks(Tensor integers, Tensor scales, Tensor? zeros, int block) -> Tensor", dequantize_blocks)
_define("dynamic_quantize(Tensor values) -> (Tensor, Tensor, Tensor)", dynamic_quantize)
_define(
    "convolve_integer(Tensor image, Tensor weight, Tensor zero, int[] stride, int[] padding, int[] dilation,"
    " int groups) -> Tensor",
    convolve_integer,
)
_define("matmul_integer(Tensor left, Tensor right, Tensor zero) -> Tensor", matmul_integer)
