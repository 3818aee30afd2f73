"""Channel shuffles as constant gathers: what a view ties together, a gather does not."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Kept
from fxcompress.graph.nodes import argument, is_call, set_argument
from fxcompress.graph.tensors import add_tensor, attribute, drop_unused

aten = torch.ops.aten
_VIEWS = (aten.view, aten.reshape, aten._unsafe_view)


def relax_shuffles(module: GraphModule) -> int:
    """Replace channel shuffles, written as views around a transposition, by gathers; return how many there were.

    As views, the halves of what is shuffled lose the same channels (Zhang et al., 2018, shuffle them block after block,
    so that ties double each time). A gather takes each channel by its number, and the halves may differ.
    """
    found = [chain for node in module.graph.nodes if (chain := _shuffle(node)) is not None]
    for first, last in found:
        _replace(module, first, last)
    module.graph.eliminate_dead_code()
    return len(found)


def _shuffle(node: Node) -> tuple[Node, Node] | None:
    """Return the first and the last call of a shuffle that starts with `node`: a view, a transposition, a view."""
    if not is_call(node, *_VIEWS) or len(node.users) != 1:
        return None
    moved = next(iter(node.users))
    last = next(iter(moved.users)) if len(moved.users) == 1 else None
    while last is not None and is_call(last, aten.contiguous, aten.clone):
        last = next(iter(last.users)) if len(last.users) == 1 else None
    if last is None or not is_call(last, *_VIEWS) or not is_call(moved, aten.transpose, aten.permute):
        return None
    given, split, made = (one.meta["val"].shape for one in (node.args[0], node, last))  # type: ignore[union-attr]
    swaps = list(moved.meta["val"].shape[1:3]) == list(split[2:0:-1]) and _swaps(moved)
    same = list(given) == list(made) and len(split) == len(given) + 1 and list(split[3:]) == list(given[2:])
    return (node, last) if swaps and same else None


def _swaps(node: Node) -> bool:
    """Whether a call swaps dims 1 and 2 and leaves the others."""
    count = node.meta["val"].dim()
    if is_call(node, aten.permute):
        return [dim % count for dim in argument(node, "dims")] == [0, 2, 1, *range(3, count)]
    return {argument(node, "dim0") % count, argument(node, "dim1") % count} == {1, 2}


def _replace(module: GraphModule, first: Node, last: Node) -> None:
    _, groups, inner, *_ = first.meta["val"].shape
    source = first.args[0]
    places = torch.arange(groups * inner, device=first.meta["val"].device).reshape(groups, inner).t().reshape(-1)
    index = add_tensor(module, "shuffle", places, last)
    with module.graph.inserting_before(last):
        made = module.graph.call_function(aten.index_select.default, (source, 1, index))
    made.meta = {**last.meta, "origin": (last.name,)}
    last.replace_all_uses_with(made)


def rewrite_gathers(axes: Axes, kept: Kept) -> None:
    """Give every gather whose axes lose positions an index of its own, of what is left."""
    replaced = []
    for node in list(axes.values):
        index = argument(node, "index") if is_call(node, aten.index_select) else None
        if isinstance(index, Node) and index.op == "get_attr":
            given, made = axes.value(node.args[0]), axes.value(node)
            assert given is not None and made is not None  # noqa: PT018
            dim = argument(node, "dim")
            before, after = kept.positions(given.axes[dim].term), kept.positions(made.axes[dim].term)
            if before is None and after is None:
                continue
            old = attribute(axes.module, str(index.target)).reshape(-1)
            chosen = old if after is None else old[torch.from_numpy(after).to(old.device)]
            if before is not None:
                ranks = torch.from_numpy(before).to(old.device).cumsum(0) - 1
                chosen = ranks[chosen]
            set_argument(node, "index", add_tensor(axes.module, str(index.target), chosen, node))
            replaced.append(str(index.target))
    if replaced:
        drop_unused(axes.module, replaced)
