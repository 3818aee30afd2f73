"""Calls that slide over space: convolutions, pooling, resampling. Spatial axes are pinned, channels pass."""

from __future__ import annotations

from fxcompress.analysis.axes.axis import Axis, Value
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import KEEP, PRODUCT, named, rule
from fxcompress.analysis.axes.terms import Term

SPACE = "slides over this axis"


@rule(*named("conv1d", "conv2d", "conv3d"), zeros=PRODUCT)
def convolution(op: Op) -> None:
    """Weight [groups * out, in, ...]: with several groups, group and channel within it are atoms of their own."""
    given, weight, bias, out = op.given("input"), op.given("weight"), op.input("bias"), op.output
    channels = given.axes[-len(weight.axes) + 1]
    made = out.axes[-len(weight.axes) + 1]
    groups = Term(op.argument("groups"))
    if groups.size == 1:
        op.contract(channels, weight.axes[1])
    else:
        op.contract_groups(channels, weight.axes[1], groups)
        inner = Term(weight.axes[0].size // groups.size)
        op.grouped(weight.axes[0], groups, inner)
    op.equal(weight.axes[0], made, bias.axes[0] if bias is not None else None)
    _space(op, len(weight.axes) - 2, weight.axes[2:])


@rule(*named("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), zeros=PRODUCT)
def transposed_convolution(op: Op) -> None:
    """Weight [groups * in, out, ...]."""
    given, weight, bias, out = op.given("input"), op.given("weight"), op.input("bias"), op.output
    channels = given.axes[-len(weight.axes) + 1]
    made = out.axes[-len(weight.axes) + 1]
    groups = Term(op.argument("groups"))
    if groups.size == 1:
        op.equal(weight.axes[1], made)
    else:
        inner = Term(weight.axes[0].size // groups.size)
        op.grouped(weight.axes[0], groups, inner)
        op.grouped(made, groups, weight.axes[1])
    op.contract(channels, weight.axes[0])
    op.equal(made, bias.axes[0] if bias is not None else None)
    _space(op, len(weight.axes) - 2, weight.axes[2:])


def _space(op: Op, count: int, kernel: tuple[Axis, ...] = ()) -> None:
    given = op.tensors()[0]
    op.pin((*given.axes[-count:], *op.output.axes[-count:], *kernel), SPACE)
    if len(given.axes) > count + 1:
        op.equal(given.axes[0], op.output.axes[0])


@rule(*named("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "upsample_linear1d"))
@rule(*named("upsample_nearest1d", "_upsample_nearest_exact1d", "reflection_pad1d", "replication_pad1d"))
def over_one(op: Op) -> None:
    _channels_pass(op, 1)


@rule(*named("max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"))
@rule(*named("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d"))
@rule(*named("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "reflection_pad2d", "replication_pad2d"))
@rule(*named("_adaptive_avg_pool2d"))
def over_two(op: Op) -> None:
    _channels_pass(op, 2)


@rule(*named("max_pool3d", "max_pool3d_with_indices", "avg_pool3d", "adaptive_avg_pool3d", "adaptive_max_pool3d"))
@rule(*named("upsample_nearest3d", "upsample_trilinear3d", "replication_pad3d", "_adaptive_avg_pool3d"))
def over_three(op: Op) -> None:
    _channels_pass(op, 3)


def _channels_pass(op: Op, count: int) -> None:
    given = op.tensors()[0]
    for output in op.outputs:
        if output is not None:
            op.pin((*given.axes[-count:], *output.axes[-count:]), SPACE)
            for one, other in zip(given.axes[:-count], output.axes[:-count], strict=True):
                op.equal(one, other)


@rule(*named("fractional_max_pool2d"))
def fractional_pool(op: Op) -> None:
    """The places of the windows are random: samples [N, C, 2]."""
    samples = op.given("random_samples")
    _channels_pass(op, 2)
    for one, other in zip(reversed(op.given("self").axes[:-2]), reversed(samples.axes[:-1]), strict=False):
        op.equal(one, other)
    op.pin(samples.axes[-1], SPACE)


@rule(*named("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), zeros=KEEP)
def grid_sampler(op: Op) -> None:
    given, grid, out = op.given("input"), op.given("grid"), op.output
    op.equal(given.axes[0], grid.axes[0], out.axes[0])
    op.equal(given.axes[1], out.axes[1])
    op.pin((*given.axes[2:], *grid.axes[1:], *out.axes[2:]), "samples at the positions of this axis")


@rule(*named("pixel_shuffle"))
def pixel_shuffle(op: Op) -> None:
    """[..., c * r * r, h, w] -> [..., c, h * r, w * r]."""
    given, factor = op.given("self"), op.argument("upscale_factor")
    _shuffled(op, given.axes, op.output.axes, factor)


@rule(*named("pixel_unshuffle"))
def pixel_unshuffle(op: Op) -> None:
    """[..., c, h * r, w * r] -> [..., c * r * r, h, w]."""
    _shuffled(op, op.output.axes, op.given("self").axes, op.argument("downscale_factor"))


def _shuffled(op: Op, deep: tuple[Axis, ...], wide: tuple[Axis, ...], factor: int) -> None:
    op.repeated(wide[-3], op.pinned(factor * factor, "moves channels into space"), deep[-3], each=True)
    op.pin((*deep[-2:], *wide[-2:]), SPACE)
    for one, other in zip(deep[:-3], wide[:-3], strict=True):
        op.equal(one, other)


@rule(*named("channel_shuffle", "native_channel_shuffle"))
def channel_shuffle(op: Op) -> None:
    """Channels as [groups, n] become [n, groups]."""
    given, groups = op.given("self"), Term(op.argument("groups"))
    inner = Term(given.axes[1].size // groups.size)
    op.grouped(given.axes[1], groups, inner)
    op.grouped(op.output.axes[1], inner, groups)
    for one, other in zip(given.axes, op.output.axes, strict=True):
        if one.dim != 1:
            op.equal(one, other)


@rule(*named("im2col"))
def im2col(op: Op) -> None:
    """[N, C, H, W] -> [N, C * kernel, places]."""
    _unfolded(op, op.given("self"), op.output)


@rule(*named("col2im"))
def col2im(op: Op) -> None:
    """[N, C * kernel, places] -> [N, C, H, W]."""
    _unfolded(op, op.output, op.given("self"))


def _unfolded(op: Op, image: Value, columns: Value) -> None:
    """State what ties an image [N, C, H, W], or one without N, to columns [N, C * kernel, places]."""
    kernel = op.pinned(columns.axes[-2].size // image.axes[-3].size, SPACE)
    op.repeated(image.axes[-3], kernel, columns.axes[-2], each=True)
    op.pin((*image.axes[-2:], columns.axes[-1]), SPACE)
    if len(image.axes) == 4:
        op.equal(image.axes[0], columns.axes[0])
