"""Convolutions of images that are rounded by their own ranges, so that one rounding serves all who read them.

A rounded image is three tensors: uint8 [batch, channels, ...], float32 scales [batch] and int32 zero points [batch].
Images have a height and a width, or a length alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.backends import first_available
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.convolution import finished, for_native
from fxcompress.kernels.geometry import Geometry, channels_last
from fxcompress.kernels.held import held_channels
from fxcompress.kernels.library import define_native
from fxcompress.kernels.native import convolution, images
from fxcompress.kernels.ranges import choose_sample_range

DYNAMIC_CONVOLUTION = ("native", "float")


def round_images(input: torch.Tensor, backend: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # noqa: A002
    """Return float32 [batch, channels, height, width] or [batch, channels, length] as bytes, scales and zero points.

    The range of an image is that of its numbers and 0; see `choose_sample_range`. Bytes lie channels last in memory,
    but those of planes of few channels, which stay planes.
    """
    if first_available(backend, DYNAMIC_CONVOLUTION) == "native" and input.numel():
        flat = input.dim() == 3
        made, scales, zeros = images.round_images(input.unsqueeze(2) if flat else input)
        return made.squeeze(2) if flat else made, scales, zeros
    scales, zeros = choose_sample_range(input.detach())
    shape = (-1, *[1] * (input.dim() - 1))
    steps = input.detach().mul(1.0 / scales.view(shape)).round_().add_(zeros.view(shape))
    made = _new_bytes(input).copy_(steps.clamp_(0, 255))
    return made, scales, zeros.to(torch.int32)


def _new_bytes(image: torch.Tensor) -> torch.Tensor:
    """Return uint8 of the shape of `image`, in the order in which rounded images lie."""
    if image.shape[1] < convolution.PLANES and image.is_contiguous():
        return torch.empty(image.shape, dtype=torch.uint8, device=image.device)
    last = (image.shape[0], *image.shape[2:], image.shape[1])
    return torch.empty(last, dtype=torch.uint8, device=image.device).movedim(-1, 1)


def conv_dynamic(
    input: torch.Tensor,  # noqa: A002
    image_scales: torch.Tensor,
    image_zeros: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    post: str,
    residual: torch.Tensor | None,
    residual_scale: float,
    residual_zero: int,
    late_post: str,
    output_scale: float | None,
    output_zero: int,
    backend: str,
) -> torch.Tensor:
    """Return the convolution of images that have a range each, with what stands behind it.

    Args:
        input, image_scales, image_zeros: as `round_images` gives them.
        weight: int8 [outputs, channels / groups, ...] with float32 `scales` [outputs].
        stride, padding, dilation: a number for each axis that the kernel moves along, or one for all.
        backend: `native` or `float`.
        The rest is as of `conv_static`.

    Returns:
        float32 or uint8 [batch, outputs, ...], channels last in memory.
    """
    flat = input.dim() == 3
    pairs = [pair(one, rest if flat else None) for one, rest in ((stride, 1), (padding, 0), (dilation, 1))]
    geometry = Geometry(pairs[0], pairs[1], pairs[2], groups)
    if flat:
        input = input.unsqueeze(2)  # noqa: A001
        residual = None if residual is None else residual.unsqueeze(2)
    behind = Behind(
        post, None if residual is None else channels_last(residual), late_post=late_post,
        residual_scale=residual_scale, residual_zero=residual_zero, outputs=("out",),
    )  # fmt: skip
    if output_scale is not None:
        behind = behind._replace(outputs=("bytes",), fixed=(output_scale, output_zero))
    rounded, layer = (input.detach(), image_scales, image_zeros), (weight, scales, bias)
    made = _convolve(rounded, layer, geometry, behind, first_available(backend, DYNAMIC_CONVOLUTION))
    return made.squeeze(2) if flat else made


def pair(given: Sequence[int], height: int | None) -> list[int]:
    """Return the numbers for height and width, of one for both or, with the `height`, of that for the length."""
    if height is not None:
        return [height, given[0]]
    return list(given) if len(given) == 2 else [given[0], given[0]]


def _convolve(
    rounded: images.Rounded,
    layer: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    geometry: Geometry,
    behind: Behind,
    backend: str,
) -> torch.Tensor:
    weight, scales, bias = layer
    values, steps, zeros = rounded
    if backend == "native" and convolution.serves(weight.shape[0], geometry) and values.numel():
        return images.convolution(rounded, for_native(weight, scales, bias, geometry), geometry, behind)
    shape = (-1, 1, 1, 1)
    floats = (values.to(torch.float32) - zeros.view(shape)).mul_(steps.view(shape))
    plain = None if bias is None else bias.detach()
    held = held_channels(weight, scales, None, 0)
    held = held.unsqueeze(2) if weight.dim() == 3 else held
    return finished(torch.conv2d(floats, held, plain, *geometry), behind)


def _fake_round(input: torch.Tensor, backend: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # noqa: A002
    count = input.shape[:1]
    return (
        _new_bytes(input),
        input.new_empty(count, dtype=torch.float32),
        input.new_empty(count, dtype=torch.int32),
    )


def _fake(
    input: torch.Tensor,  # noqa: A002
    image_scales: torch.Tensor,
    image_zeros: torch.Tensor,
    weight: torch.Tensor,
    *rest: object,
) -> torch.Tensor:
    convolve = torch.conv1d if input.dim() == 3 else torch.conv2d
    shape = convolve(input.float(), weight.float(), None, *rest[2:6]).shape  # type: ignore[call-overload]
    dtype = torch.float32 if rest[11] is None else torch.uint8
    last = (shape[0], *shape[2:], shape[1])
    made = torch.empty(last, dtype=dtype, device=input.device)
    return made.movedim(-1, 1)


define_native("round_images(Tensor input, str backend) -> (Tensor, Tensor, Tensor)", round_images, _fake_round)
define_native(
    "conv_dynamic(Tensor input, Tensor image_scales, Tensor image_zeros, Tensor weight, Tensor scales, Tensor? bias,"
    " int[] stride, int[] padding, int[] dilation, int groups, str post, Tensor? residual, float residual_scale,"
    " int residual_zero, str late_post, float? output_scale, int output_zero, str backend) -> Tensor",
    conv_dynamic,
    _fake,
)
