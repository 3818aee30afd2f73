"""Views of tensors: what a node is a view of, and how what is written into a view gets back into the whole."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from fxcompress.capturing.aliases import Aliases
from fxcompress.graph.nodes import RESHAPES, argument, is_call

aten = torch.ops.aten

# Makes a call: operation, arguments -> its node.
Caller = Callable[..., Node]

# Views that keep the elements in their row-major order, so that a reshape undoes them.
_RESHAPES = (*RESHAPES, aten.alias, aten.to, aten.type_as)
_PARTS = (aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split, aten.unbind)


def viewed(node: Node, aliases: Aliases) -> Node | None:
    """Return the node whose memory `node` shows, None where it is no view that can be made anew."""
    if is_call(node, operator.getitem):
        parts = node.args[0]
        return parts if isinstance(parts, Node) and is_call(parts, *_PARTS) else None
    if not isinstance(node.target, OpOverload) or node.target._schema.is_mutable or is_call(node, aten.as_strided):
        return None
    source = node.args[0] if node.args else None
    arguments = node.target._schema.arguments
    if not isinstance(source, Node) or not arguments or arguments[0].alias_info is None:
        return None
    return source if aliases.share(source, node) else None


def whole(node: Node, aliases: Aliases) -> Node:
    """Return the node that `node` is a view of in the end, itself where it is no view."""
    while (source := viewed(node, aliases)) is not None:
        node = source
    return node


def written_back(view: Node, value: Node, aliases: Aliases, call: Caller) -> tuple[Node, Node] | None:
    """Return the tensor that `view` shows a part of with that part replaced by `value`.

    Returns:
        the node that `view` is a view of, and the node of the whole with `value` in place; None where not known how.
    """
    source = viewed(view, aliases)
    if source is None:
        return None
    if is_call(view, operator.getitem):
        base = viewed(source, aliases)
        return None if base is None else _part_back(source, base, int(view.args[1]), value, call)  # type: ignore[arg-type]
    if is_call(view, *_RESHAPES):
        return source, call(aten.reshape_as.default, value, source)
    if is_call(view, aten.transpose) or is_call(view, aten.t):
        return source, call(view.target, value, *view.args[1:])
    if is_call(view, aten.permute):
        dims = [int(dim) % len(view.args[1]) for dim in view.args[1]]  # type: ignore[arg-type, union-attr]
        return source, call(aten.permute.default, value, [dims.index(place) for place in range(len(dims))])
    return _slice_back(view, source, value, call)


def _slice_back(view: Node, source: Node, value: Node, call: Caller) -> tuple[Node, Node] | None:
    if is_call(view, aten.select) and view.target is aten.select.int:
        return source, call(aten.select_scatter.default, source, value, argument(view, "dim"), argument(view, "index"))
    if is_call(view, aten.slice):
        bounds = [argument(view, name) for name in ("dim", "start", "end", "step")]
        return source, call(aten.slice_scatter.default, source, value, *bounds)
    if is_call(view, aten.diagonal) and view.target is aten.diagonal.default:
        places = [argument(view, name) for name in ("offset", "dim1", "dim2")]
        return source, call(aten.diagonal_scatter.default, source, value, *places)
    return None


def _part_back(parts: Node, source: Node, index: int, value: Node, call: Caller) -> tuple[Node, Node] | None:
    dim = argument(parts, "dim")
    if is_call(parts, aten.unbind):
        return source, call(aten.select_scatter.default, source, value, dim, index)
    lengths = [part.shape[dim] for part in parts.meta["val"]]
    if not all(isinstance(length, int) for length in lengths):
        return None
    start = sum(lengths[:index])
    return source, call(aten.slice_scatter.default, source, value, dim, start, start + lengths[index], 1)


class Anew:
    """Makes views anew over a tensor that took the place of the one they were made of; each of them once."""

    def __init__(self, old: Node, new: Node, aliases: Aliases, call: Caller) -> None:
        self.made = {old: new}
        self.aliases = aliases
        self.call = call

    def view(self, node: Node) -> Node:
        if node not in self.made:
            source = viewed(node, self.aliases)
            assert source is not None
            self.made[node] = self.call(node.target, self.view(source), *node.args[1:], like=node, **node.kwargs)
        return self.made[node]


def layout_of(value: Any) -> tuple[Any, ...]:
    """Return dtype, shape and strides of a fake tensor, to compare it with another."""
    return value.dtype, tuple(value.shape), tuple(value.stride())
