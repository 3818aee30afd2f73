"""Calls that only rearrange what they are given, and where an axis of it stands afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from fxcompress.graph.nodes import RESHAPES, argument, is_call

aten = torch.ops.aten

# Calls that keep the row-major order of the elements and give them another shape, or the same.
_RESHAPES = (*RESHAPES, aten.clone)
_PERMUTATIONS = (aten.permute, aten.transpose, aten.t, aten.movedim, aten.swapaxes, aten.swapdims, aten.mT)
# Calls that look at the shape and dtype of the argument at this position, and not at its values.
_SHAPE_READERS: dict[Any, int] = {
    aten.sym_size: 0,
    aten.sym_numel: 0,
    aten.view_as: 1,
    aten.reshape_as: 1,
    aten.expand_as: 1,
    aten.type_as: 1,
    aten.zeros_like: 0,
    aten.ones_like: 0,
    aten.full_like: 0,
    aten.rand_like: 0,
    aten.randn_like: 0,
    aten.new_zeros: 0,
    aten.new_ones: 0,
    aten.new_full: 0,
}


def value_users(node: Node) -> list[Node]:
    """Return the users of `node` that look at its values; the others look at its shape."""
    return [user for user in node.users if not _reads_shape(user, node)]


def _reads_shape(user: Node, node: Node) -> bool:
    position = next((place for packet, place in _SHAPE_READERS.items() if is_call(user, packet)), None)
    return position is not None and [i for i, given in enumerate(user.args) if given is node] == [position]


def rearranged(node: Node) -> Node | None:
    """Return the node whose elements `node` gives in another arrangement, None where it computes something."""
    if is_call(node, *_RESHAPES, *_PERMUTATIONS) or (is_call(node, aten.dropout) and argument(node, "p") == 0):
        source = node.args[0]
        return source if isinstance(source, Node) else None
    return None


def moved_axis(node: Node, axis: int) -> int | None:
    """Return where the axis `axis` of the input of a rearranging `node` stands in its result; None where it is torn.

    An axis of channels comes out whole if as many elements lie behind it as before: sizes that depend on the batch are
    compared as expressions, since what holds for the example's size alone does not count.
    """
    source = rearranged(node)
    assert source is not None
    given, result = source.meta["val"].shape, node.meta["val"].shape
    if is_call(node, *_PERMUTATIONS):
        # Run on sizes that are all different, a permutation shows where each went.
        sizes = torch.empty([dim + 2 for dim in range(len(given))], device="meta")
        moved: torch.Tensor = node.target(sizes, *node.args[1:], **node.kwargs)  # type: ignore[operator]
        return list(moved.shape).index(axis + 2)
    wanted = (_expression(given[axis]), _product(given[axis + 1 :]))
    for place in range(len(result)):
        if (_expression(result[place]), _product(result[place + 1 :])) == wanted:
            return place
    return None


def _expression(size: Any) -> Any:
    """Return a size as a number or as the expression of the symbols that it stands for."""
    return size if isinstance(size, int) else size.node.expr


def _product(sizes: Any) -> Any:
    result: Any = 1
    for size in sizes:
        result = result * _expression(size)
    return result
