"""Cleans what export gives into the one dialect that every pass meets."""

from __future__ import annotations

import operator
import sys
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.capturing.aliases import Aliases
from fxcompress.graph.nodes import argument, is_call, writes
from fxcompress.graph.tensors import tensor_of

aten = torch.ops.aten

# Calls that only check something, or only tell the tracer something about a size.
_CHECKS = (
    aten._assert_async,
    aten._assert_scalar,
    aten._assert_tensor_metadata,
    aten._functional_assert_async,
    aten.sym_constrain_range,
    aten.sym_constrain_range_for_size,
    torch._check,
    torch._check_is_size,
    torch._assert,
)
# Calls that give what they are given: a fresh tensor, or another name for it.
_COPIES = (aten.lift_fresh_copy, aten.clone)
_NAMES = (aten.alias, aten.lift_fresh, aten.lift)
_SAME_OPERATIONS = {
    aten.__and__.Tensor: aten.bitwise_and.Tensor,
    aten.__and__.Scalar: aten.bitwise_and.Scalar,
    aten.__or__.Tensor: aten.bitwise_or.Tensor,
    aten.__or__.Scalar: aten.bitwise_or.Scalar,
    aten.__xor__.Tensor: aten.bitwise_xor.Tensor,
    aten.__xor__.Scalar: aten.bitwise_xor.Scalar,
    aten.__lshift__.Tensor: aten.bitwise_left_shift.Tensor,
    aten.__lshift__.Scalar: aten.bitwise_left_shift.Tensor_Scalar,
    aten.__rshift__.Tensor: aten.bitwise_right_shift.Tensor,
    aten.__rshift__.Scalar: aten.bitwise_right_shift.Tensor_Scalar,
}


def remove_checks(module: GraphModule) -> None:
    """Remove guards and asserts, and the calls that name the same tensor once more."""
    for node in reversed(list(module.graph.nodes)):
        if is_call(node, *_CHECKS) or (node.op == "call_module" and node.target == "_guards_fn"):
            module.graph.erase_node(node)
    for node in list(module.graph.nodes):
        if is_call(node, *_NAMES) or _whole_slice(node):
            _bypass(node)
        elif node.target in _SAME_OPERATIONS:
            node.target = _SAME_OPERATIONS[node.target]
    module.graph.eliminate_dead_code()


def _whole_slice(node: Node) -> bool:
    """Whether `node` is a slice of everything, such as the colons of `x[:, 0]` give."""
    if not is_call(node, aten.slice):
        return False
    start, end, step = (argument(node, name) for name in ("start", "end", "step"))
    return start in (None, 0) and (end is None or (isinstance(end, int) and end >= sys.maxsize)) and step == 1


def remove_copies_of_constants(module: GraphModule) -> None:
    """Remove `lift_fresh_copy` and `detach_` of constants that nothing writes into and that are not handed out.

    Every node must carry the fake value of one propagation over the present graph.
    """
    aliases = Aliases(module.graph)
    for node in list(module.graph.nodes):
        copied = is_call(node, aten.lift_fresh_copy) and _only_read(node, aliases)
        if (copied or is_call(node, aten.detach, aten.detach_)) and _constant(module, node.args[0]):
            _bypass(node)


def _only_read(node: Node, aliases: Aliases) -> bool:
    """Whether nothing writes into the memory of `node`, and no result of the graph lies in it."""
    sharing = [node, *aliases.of(node)]
    return not any(user.op == "output" or _may_write(user) for other in sharing for user in other.users)


def _may_write(node: Node) -> bool:
    return (writes(node) and not is_call(node, aten.detach_)) or not isinstance(
        node.target, torch._ops.OpOverload | type(operator.getitem)
    )


def _constant(module: GraphModule, node: Any) -> bool:
    """Whether `node` gives a constant of the model, or a copy of one, that has no gradient."""
    while isinstance(node, Node) and is_call(node, *_COPIES, aten.detach, aten.detach_):
        node = node.args[0]
    tensor = tensor_of(module, node)
    return tensor is not None and not isinstance(tensor, torch.nn.Parameter)


def _bypass(node: Node) -> None:
    """Let the readers of `node` read its argument instead."""
    source = node.args[0]
    assert isinstance(source, Node)
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def inputs_first(module: GraphModule) -> None:
    """Move the placeholders to the start of the graph, in their order."""
    first = next(iter(module.graph.nodes))
    for node in module.graph.find_nodes(op="placeholder"):
        if node is not first:
            first.prepend(node)
        else:
            first = first.next
