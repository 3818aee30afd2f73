"""Quantized layers that are spelled in another way, as linears of stored weights and biases: what kernels take."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import tensor_of

aten, ops = torch.ops.aten, torch.ops.fxcompress
# Products of an activation and a weight [features, outputs]: the names of both.
_PRODUCTS = {
    aten.addmm.default: ("mat1", "mat2"),
    aten.mm.default: ("self", "mat2"),
    aten.matmul.default: ("self", "other"),
}


def spell_as_linears(module: GraphModule, chosen: set[Node]) -> None:
    """Spell products of quantized weights among `chosen` as linears.

    The weight of `x @ weight` is kept transposed. A bias that is calculated is added behind.
    """
    for node in calls(module.graph, *_PRODUCTS):
        if node in chosen:
            _spell(module, node)
    for layer in calls(module.graph, aten.linear.default):
        if layer in chosen and _dequantized(argument(layer, "weight")) is not None:
            _bias_behind(module, layer)


def _spell(module: GraphModule, node: Node) -> None:
    """Let a product be a linear, where its second operand is a stored weight."""
    names = _PRODUCTS[node.target]  # type: ignore[index]
    given, weight = (argument(node, name) for name in names)
    added = argument(node, "self") if node.target is aten.addmm.default else None
    if added is not None and (argument(node, "beta") != 1 or argument(node, "alpha") != 1):
        return
    if _dequantized(weight) != 1 or not _stored(module, weight) or given.meta["val"].dim() < 2:
        return
    with module.graph.inserting_before(node):
        dequantized = _transposed(module, weight)
    node.target, node.args, node.kwargs = aten.linear.default, (given, dequantized, added), {}


def _dequantized(node: Any) -> int | None:
    """Return the axis of the scales where `node` dequantizes a matrix to float32, None where it does not."""
    if not isinstance(node, Node) or not is_call(node, quantized_decomposed().dequantize_per_channel.default):
        return None
    value, axis = node.meta["val"], argument(node, "axis")
    return int(axis) % 2 if value.dim() == 2 and value.dtype == torch.float32 else None


def _stored(module: GraphModule, weight: Node) -> bool:
    """Whether the integers are stored, and no zero points with them."""
    integers = tensor_of(module, argument(weight, "input"))
    return integers is not None and integers.dtype == torch.int8 and argument(weight, "zero_points") is None


def _transposed(module: GraphModule, weight: Node) -> Node:
    """Insert the dequantization of the transposed integers."""
    source = argument(weight, "input")
    integers = module.graph.call_function(ops.held_transposed.default, (source,))
    integers.meta = {**source.meta, "val": source.meta["val"].t()}
    made = module.graph.node_copy(weight)
    made.meta = {**weight.meta, "val": weight.meta["val"].t()}
    set_argument(made, "input", integers)
    set_argument(made, "axis", 0)
    return made


def _bias_behind(module: GraphModule, layer: Node) -> None:
    """Add a bias behind `layer` where it is no stored vector."""
    bias = argument(layer, "bias")
    stored = tensor_of(module, bias)
    if bias is None or (stored is not None and stored.dim() == 1):
        return
    set_argument(layer, "bias", None)
    with module.graph.inserting_after(layer):
        total = module.graph.call_function(aten.add.Tensor, (layer, bias))
    total.meta = dict(layer.meta)
    layer.replace_all_uses_with(total, delete_user_cb=lambda user: user is not total)
