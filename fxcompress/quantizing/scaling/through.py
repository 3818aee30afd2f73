"""Calls that a positive scale of a channel passes, f(s x) = s f(x), and where the channels stand behind them."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fxcompress.graph.nodes import argument, is_call
from fxcompress.weights.rearranging import moved_axis, rearranged

aten = torch.ops.aten

_HOMOGENEOUS = (aten.relu, aten.leaky_relu, aten.dropout, aten.feature_dropout, aten.neg, aten.alias, aten.detach)
# Each mixes positions of so many axes from behind.
_WINDOWED: dict[Any, int] = {
    aten.max_pool1d: 1,
    aten.max_pool2d: 2,
    aten.max_pool3d: 3,
    aten.avg_pool1d: 1,
    aten.avg_pool2d: 2,
    aten.avg_pool3d: 3,
    aten.adaptive_avg_pool1d: 1,
    aten.adaptive_avg_pool2d: 2,
    aten.adaptive_avg_pool3d: 3,
    aten.upsample_nearest2d: 2,
}


def axis_behind(node: Node, given: Node, axis: int) -> int | None:
    """Return the axis of what `node` gives that the channels of `given` are, scaled as there; None where they are not.

    Args:
        axis: the axis of channels of `given`, from 0.
    """
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or given.meta["val"].dim() == 0:
        return None
    if is_call(node, *_HOMOGENEOUS) and node.args[0] is given:
        return axis
    if is_call(node, aten.mul, aten.div):
        return _product_axis(node, given, axis)
    if is_call(node, aten.mean, aten.sum) and node.args[0] is given:
        return _reduced_axis(node, given, axis)
    mixed = _mixed_axes(node)
    if mixed is not None:
        return axis if node.args[0] is given and axis < value.dim() - mixed else None
    if rearranged(node) is given:
        return moved_axis(node, axis)
    return None


def _mixed_axes(node: Node) -> int | None:
    if is_call(node, aten.constant_pad_nd, aten.pad):
        constant = is_call(node, aten.constant_pad_nd) or argument(node, "mode") == "constant"
        zero = constant and not argument(node, "value")
        return len(argument(node, "pad")) // 2 if zero else None
    return next((axes for packet, axes in _WINDOWED.items() if is_call(node, packet)), None)


def _product_axis(node: Node, given: Node, axis: int) -> int | None:
    """Return the axis behind a product with something else, or a division by it."""
    first, second = node.args[:2]
    if first is second or is_call(node, aten.div.Tensor_mode, aten.div.Scalar_mode):
        return None
    if is_call(node, aten.div) and first is not given:
        return None
    result, value = node.meta["val"], given.meta["val"]
    behind = axis - value.dim()
    fits = result.dim() == value.dim() and result.shape[behind] == value.shape[behind]
    return axis if fits else None


def _reduced_axis(node: Node, given: Node, axis: int) -> int | None:
    if not is_call(node, aten.mean.dim, aten.sum.dim_IntList) or not argument(node, "dim"):
        return None
    dims = argument(node, "dim")
    gone = {dim % given.meta["val"].dim() for dim in dims}
    if axis in gone:
        return None
    return axis if argument(node, "keepdim") else axis - sum(dim < axis for dim in gone)
