"""Replaces operations that write into their input by those that do not, where nobody can see the difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fxcompress.capturing.aliases import Aliases

# Twins that are not called as the operation without its underscore.
_TWINS: dict[str, str] = {
    "__iand__": "bitwise_and",
    "__ior__": "bitwise_or",
    "__ixor__": "bitwise_xor",
    "__ilshift__": "bitwise_left_shift",
    "__irshift__": "bitwise_right_shift",
    "normal_": "normal_functional",
}
_NO_TWIN = ("resize_", "resize_as_", "set_")


def mutating(node: Node) -> bool:
    """Whether `node` writes into one of its arguments."""
    return isinstance(node.target, OpOverload) and bool(node.target._schema.is_mutable)


def replace_in_place(module: GraphModule) -> bool:
    """Replace the in-place calls that no other view can tell from their out-of-place twins.

    Every node must carry the fake value of one propagation over the present graph.

    Returns:
        whether a call was replaced.
    """
    aliases = Aliases(module.graph)
    changed = False
    for node in [node for node in module.graph.nodes if mutating(node)]:
        twin = twin_of(node.target)
        if twin is not None and _private(node, aliases) and _gives_the_same(twin, node):
            _replace(node, twin, aliases)
            changed = True
    return changed


def still_in_place(module: GraphModule) -> Iterator[Node]:
    """Yield the calls that write into their arguments."""
    return (node for node in module.graph.nodes if mutating(node))


def twin_of(target: Any) -> OpOverload | None:
    """Return the operation that gives what the in-place `target` gives and takes the same arguments, or None."""
    name = target.overloadpacket.__name__
    if name in _NO_TWIN or target.namespace != "aten":
        return None
    packet = getattr(torch.ops.aten, _TWINS.get(name, name.removesuffix("_")), None)
    if not isinstance(packet, OpOverloadPacket) or packet is target.overloadpacket:
        return None
    wanted = [(argument.name, str(argument.type)) for argument in target._schema.arguments]
    for overload in sorted(packet.overloads(), key=lambda overload: overload != target._overloadname):
        twin = getattr(packet, overload)
        given = [(argument.name, str(argument.type)) for argument in twin._schema.arguments]
        if given == wanted and not twin._schema.is_mutable and len(twin._schema.returns) == 1:
            return twin  # type: ignore[no-any-return]
    return None


def _private(node: Node, aliases: Aliases) -> bool:
    """Whether what `node` writes into is neither from outside nor read later through another view.

    Views that are made later do not count: they are made of what `node` gives, or of a view that then counts.
    """
    written = node.args[0] if node.args else None
    if not isinstance(written, Node):
        return False
    older = [other for other in aliases.of(written) if aliases.order[other] < aliases.order[node]]
    if any(other.op in ("placeholder", "get_attr") for other in [written, *older]):
        return False
    return not any(aliases.used_after(other, node) for other in older)


def _gives_the_same(twin: OpOverload, node: Node) -> bool:
    """Whether `twin` gives a tensor of the shape, dtype and strides of what the in-place call leaves behind."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda inner: inner.meta["val"])  # type: ignore[type-var]
    left = node.meta["val"]
    with left.fake_mode:
        given = twin(*args, **kwargs)
    same_type = given.dtype == left.dtype and given.dim() == left.dim()
    return bool(same_type and tuple(given.shape) == tuple(left.shape) and given.stride() == left.stride())


def _replace(node: Node, twin: OpOverload, aliases: Aliases) -> None:
    """Call `twin` instead, and hand its result to all that read the changed tensor later."""
    written = node.args[0]
    assert isinstance(written, Node)
    for user in list(written.users):
        if aliases.order[user] > aliases.order[node]:
            user.replace_input_with(written, node)
    node.target = twin
