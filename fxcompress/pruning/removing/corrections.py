"""Keeping what a call computes when slots are gone: means, root mean squares and attention know how many there are."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.fx import Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import AVERAGED, Axis
from fxcompress.analysis.axes.groups import Kept
from fxcompress.graph.nodes import argument, is_call, set_argument

aten = torch.ops.aten


def correct(axes: Axes, kept: Kept, node: Node) -> None:
    """Let `node` compute what it would if the removed slots were there and zero."""
    if is_call(node, aten.mean):
        averaged = [role.axes[0] for role in axes.roles[node] if role.kind == AVERAGED]
        scale(axes, node, _share(kept, averaged))
    elif is_call(node, aten.rms_norm):
        _root_mean_square(axes, kept, node)
    elif is_call(node, aten.scaled_dot_product_attention):
        _keep_scale(axes, kept, node)


def _share(kept: Kept, axes: Iterable[Axis]) -> float:
    """Return which share of the positions of `axes` is left."""
    return math.prod(kept.size(axis.term) / axis.size for axis in axes if kept.size(axis.term) != axis.size)


def _root_mean_square(axes: Axes, kept: Kept, node: Node) -> None:
    """x / sqrt(sum / n + eps) from sum / n': eps and the result are scaled."""
    given = axes.value(argument(node, "input"))
    assert given is not None
    share = _share(kept, given.axes[-len(argument(node, "normalized_shape")) :])
    if share != 1:
        eps = argument(node, "eps")
        eps = torch.finfo(node.meta["val"].dtype).eps if eps is None else eps
        set_argument(node, "eps", eps / share)
        scale(axes, node, 1 / math.sqrt(share))


def _keep_scale(axes: Axes, kept: Kept, node: Node) -> None:
    """The default scale is that of the size of a head, which may change."""
    query = axes.value(argument(node, "query"))
    assert query is not None
    size = query.axes[-1].size
    if argument(node, "scale") is None and size > 1 and kept.size(query.axes[-1].term) != size:
        set_argument(node, "scale", 1 / math.sqrt(size))


def scale(axes: Axes, node: Node, factor: float) -> None:
    """Multiply what `node` gives by `factor`, for all its readers; the product has the axes of `node`."""
    if factor == 1:
        return
    with node.graph.inserting_after(node):
        scaled = node.graph.call_function(aten.mul.Tensor, (node, factor))
    scaled.meta = {key: value for key, value in node.meta.items() if key != "origin"}
    scaled.meta["origin"] = (node.name,)
    axes.values[scaled] = axes.values[node]
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)
