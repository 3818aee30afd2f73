"""Linears and convolutions in bfloat16, by oneDNN: operands are rounded to 8 bits of mantissa, sums are float32.

A processor with AVX512_BF16 or AMX multiplies them two to four times as fast as float32.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from fxcompress.kernels.backends import has_operator, switched_off
from fxcompress.kernels.geometry import Geometry
from fxcompress.kernels.images import pair
from fxcompress.kernels.library import define
from fxcompress.kernels.packing import packed
from fxcompress.kernels.products import ONEDNN_POSTS, activated

OPERATORS = (
    *("mkldnn._reorder_linear_weight", "mkldnn._linear_pointwise"),
    *("mkldnn._reorder_convolution_weight", "mkldnn._convolution_pointwise"),
)
Weight = tuple[torch.Tensor, torch.Tensor | None]


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 by itself, and oneDNN is there and not switched off."""
    return "onednn" not in switched_off() and _multiplies()


@functools.cache
def _multiplies() -> bool:
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = [getattr(torch.cpu, name, None) for name in probes]
    fast = any(probe is not None and probe() for probe in found)
    return fast and torch.backends.mkldnn.is_available() and all(map(has_operator, OPERATORS))


def linear_bf16(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    scales: torch.Tensor | None,
    bias: torch.Tensor | None,
    post: str,
    narrow: bool,
) -> torch.Tensor:
    """Return a linear in bfloat16 with an activation function behind.

    Args:
        input: bfloat16 [..., features].
        weight: float32 [outputs, features], or int8 with float32 `scales` [outputs].
        bias: float32 [outputs] or None.
        post: one of `POSTS`.
        narrow: the result is bfloat16, else float32.

    Returns:
        [..., outputs].
    """
    if not has_bf16():
        made = torch.nn.functional.linear(input.float(), _floats((weight, scales)), _plain(bias))
        return _dtype(activated(made, post), narrow)

    def make() -> tuple[torch.Tensor, torch.Tensor | None]:
        bits = _floats((weight, scales)).bfloat16().contiguous()
        return torch.ops.mkldnn._reorder_linear_weight(bits, None), _narrowed(bias)

    ready, shift = packed("bf16 linear", (weight, scales, bias), make)
    name, how = ONEDNN_POSTS[post]
    return _dtype(torch.ops.mkldnn._linear_pointwise(input.contiguous(), ready, shift, name, [], how), narrow)


def conv_bf16(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    scales: torch.Tensor | None,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    post: str,
    narrow: bool,
) -> torch.Tensor:
    """Return a convolution over one to three axes in bfloat16 with an activation function behind.

    Args:
        input: bfloat16 [batch, channels, ...].
        weight: float32 [outputs, channels / groups, ...], or int8 with float32 `scales` [outputs].
        stride, padding, dilation: a number for each axis, or one for all.
        The rest is as of `linear_bf16`.

    Returns:
        [batch, outputs, ...], channels last in memory.
    """
    flat = input.dim() == 3
    axes = max(2, input.dim() - 2)
    numbers = [_numbers(one, rest if flat else None, axes) for one, rest in ((stride, 1), (padding, 0), (dilation, 1))]
    geometry = Geometry(numbers[0], numbers[1], numbers[2], groups)
    image = input.unsqueeze(2) if flat else input
    if has_bf16() and image.numel():
        made = _by_onednn(image, (weight, scales), bias, geometry, post)
    else:
        wide = _floats((weight, scales))
        convolve = torch.conv3d if axes == 3 else torch.conv2d
        made = convolve(image.float(), wide.unsqueeze(2) if flat else wide, _plain(bias), *geometry)
        made = activated(made, post)
    made = _dtype(made, narrow).movedim(1, -1).contiguous().movedim(-1, 1)
    return made.squeeze(2) if flat else made


def _numbers(given: Sequence[int], height: int | None, axes: int) -> list[int]:
    return pair(given, height) if axes == 2 else list(given) * (axes // len(given))


def _by_onednn(
    image: torch.Tensor, layer: Weight, bias: torch.Tensor | None, geometry: Geometry, post: str
) -> torch.Tensor:
    numbers = [list(one) for one in (geometry.padding, geometry.stride, geometry.dilation)]

    def make() -> tuple[torch.Tensor, torch.Tensor | None]:
        bits = _floats(layer).bfloat16()
        bits = (bits.unsqueeze(2) if bits.dim() == 3 else bits).contiguous()
        ready = torch.ops.mkldnn._reorder_convolution_weight(bits, *numbers, geometry.groups, None)
        return ready, _narrowed(bias)

    ready, shift = packed(f"bf16 {geometry}", (*layer, bias), make)
    name, how = ONEDNN_POSTS[post]
    last = image.movedim(1, -1).contiguous().movedim(-1, 1)
    made: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
        last, ready, shift, *numbers, geometry.groups, name, [], how
    )
    return made


def _floats(layer: Weight) -> torch.Tensor:
    weight, scales = layer
    if scales is None:
        return weight.detach().float()
    return weight.detach().float() * scales.detach().float().view(-1, *[1] * (weight.dim() - 1))


def _plain(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach().float()


def _narrowed(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach().bfloat16()


def _dtype(made: torch.Tensor, narrow: bool) -> torch.Tensor:
    return made.to(torch.bfloat16 if narrow else torch.float32)


def _fake_linear(input: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:  # noqa: A002
    return input.new_empty((*input.shape[:-1], weight.shape[0]), dtype=torch.bfloat16 if rest[-1] else torch.float32)


def _fake_convolution(input: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:  # noqa: A002
    convolve: Any = (torch.conv1d, torch.conv2d, torch.conv3d)[input.dim() - 3]
    shape = convolve(input.float(), weight.float(), None, *rest[2:6]).shape
    dtype = torch.bfloat16 if rest[-1] else torch.float32
    return input.new_empty((shape[0], *shape[2:], shape[1]), dtype=dtype).movedim(-1, 1)


define(
    "linear_bf16(Tensor input, Tensor weight, Tensor? scales, Tensor? bias, str post, bool narrow) -> Tensor",
    linear_bf16,
    _fake_linear,
)
define(
    "conv_bf16(Tensor input, Tensor weight, Tensor? scales, Tensor? bias, int[] stride, int[] padding, int[] dilation,"
    " int groups, str post, bool narrow) -> Tensor",
    conv_bf16,
    _fake_convolution,
)
