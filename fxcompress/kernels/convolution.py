"""Convolution of a quantized image with int8 weights, channels last."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.backends import first_available
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.finishing import finish
from fxcompress.kernels.geometry import Geometry, channels_last
from fxcompress.kernels.held import held_channels
from fxcompress.kernels.library import define, define_native, made_when_called
from fxcompress.kernels.native import convolution as native
from fxcompress.kernels.native.weights import PackedKernel
from fxcompress.kernels.packing import packed

CONVOLUTION = ("native", "onednn", "float")
# What `qconv_pointwise` can do behind a convolution; the rest is a call of its own.
FUSED = ("none", "relu")


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
    residual: torch.Tensor | None,
    residual_scale: float,
    residual_zero: int,
    late_post: str,
    output_scale: float | None,
    output_zero: int,
    backend: str,
) -> torch.Tensor:
    """Return the 2d convolution of an image that is quantized already, with what stands behind it.

    Args:
        input: uint8 [batch, channels, height, width] in steps of `scale` above `zero`.
        weight: int8 [outputs, channels / groups, height, width] with float32 `scales` [outputs].
        bias: float32 [outputs] or None.
        stride, padding, dilation: two numbers each.
        post: one of `POSTS`.
        residual: of the shape of the result, added behind it: float32, or uint8 in steps of `residual_scale` above
            `residual_zero`.
        late_post: one of `POSTS`, behind the residual.
        output_scale: the result is uint8 in these steps above `output_zero`; float32 where it is None.
        backend: what to calculate with; where it is not there, the next best.

    Returns:
        float32 or uint8 [batch, outputs, height, width], channels last in memory.
    """
    geometry = Geometry(stride, padding, dilation, groups)
    plain = None if bias is None else bias.detach()
    behind = Behind(
        post, None if residual is None else channels_last(residual), late_post=late_post,
        residual_scale=residual_scale, residual_zero=residual_zero, outputs=("out",),
    )  # fmt: skip
    if output_scale is not None:
        behind = behind._replace(outputs=("bytes",), fixed=(output_scale, output_zero))
    chosen = first_available(backend, CONVOLUTION)
    if chosen == "native" and not (native.serves(weight.shape[0], geometry) and input.numel()):
        chosen = first_available("onednn", CONVOLUTION[1:])
    if chosen == "native":
        kernel = for_native(weight, scales, bias, geometry)
        return native.convolution(input.detach(), scale, zero, kernel, geometry, behind)
    if chosen == "onednn" and sees_nothing(weight.shape[2:], geometry):
        chosen = "float"
    fused = residual is None and late_post == "none" and post in FUSED
    if chosen == "onednn" and fused:
        return _onednn(input, scale, zero, (weight, scales, plain), geometry, post, output_scale, output_zero)
    if chosen == "onednn":
        made = _onednn(input, scale, zero, (weight, scales, plain), geometry, "none", None, 0)
    else:
        floats = (input.to(torch.float32) - zero).mul_(scale)
        made = torch.conv2d(floats, held_channels(weight, scales, None, 0), plain, *geometry)
    return finished(made, behind)


def sees_nothing(window: Sequence[int], geometry: Geometry) -> bool:
    """Whether the kernel stands outside of the image at some place: oneDNN 3.12 writes nothing there."""
    reach = [far * (wide - 1) for far, wide in zip(geometry.dilation, window, strict=True)]
    return any(pad > far for pad, far in zip(geometry.padding, reach, strict=True))


def finished(made: torch.Tensor, behind: Behind) -> torch.Tensor:
    """Return what stands behind a float32 convolution, calculated by plain calls of torch."""
    batch, channels, height, width = made.shape
    rows = made.permute(0, 2, 3, 1).reshape(-1, channels)
    if behind.residual is not None:
        behind = behind._replace(residual=behind.residual.permute(0, 2, 3, 1).reshape(-1, channels))
    (result,) = finish(rows, behind)
    return result.view(batch, height, width, channels).permute(0, 3, 1, 2)


def for_native(
    weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry
) -> PackedKernel:
    """Return weights, scales and bias packed for the kernel of ours; those of a length alone have a height of 1."""

    return _packed(weight, scales, bias, geometry.groups, native.merged(geometry))


def packed_convolution(
    weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, groups: int, merged: bool
) -> list[torch.Tensor]:
    """Return the layer as the native kernels read it, for `native/boxed`; see `PackedKernel`."""
    return list(_packed(weight, scales, bias, groups, merged).tensors)


def _packed(
    weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, groups: int, merged: bool
) -> PackedKernel:
    def make() -> PackedKernel:
        plain = None if bias is None else bias.detach().float()
        tall = weight.unsqueeze(2) if weight.dim() == 3 else weight
        return PackedKernel(tall.detach(), scales.detach().float(), plain, groups, merged)

    return packed(f"native {groups} {merged}", (weight, scales, bias), make)


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
    image = channels_last(values)
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
    dtype = torch.float32 if rest[11] is None else torch.uint8
    return torch.empty(shape, dtype=dtype, device=input.device, memory_format=torch.channels_last)


define(
    "packed_convolution(Tensor weight, Tensor scales, Tensor? bias, int groups, bool merged) -> Tensor[]",
    packed_convolution,
    made_when_called,
)
define_native(
    "conv_static(Tensor input, float scale, int zero, Tensor weight, Tensor scales, Tensor? bias, int[] stride,"
    " int[] padding, int[] dilation, int groups, str post, Tensor? residual, float residual_scale, int residual_zero,"
    " str late_post, float? output_scale, int output_zero, str backend) -> Tensor",
    conv_static,
    _fake,
)
