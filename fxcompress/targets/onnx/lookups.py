"""Tables of integers: rows are looked up first and made floats then, not the whole table at every call."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten


def look_up_integers(module: GraphModule) -> int:
    """Rewrite every `embedding` of a dequantized table that has a scale for each row, or one; return how many."""
    found = 0
    for node in calls(module.graph, aten.embedding.default):
        rows = _rows(Inserter(module, node), node)
        if rows is not None:
            node.replace_all_uses_with(rows)
            module.graph.erase_node(node)
            found += 1
    return found


def _rows(inserter: Inserter, node: Node) -> Node | None:
    """Return a node that gives the rows which `node` looks up, None where its table is not quantized so."""
    ops, table, indices = quantized_decomposed(), argument(node, "weight"), argument(node, "indices")
    if is_call(table, ops.dequantize_per_tensor.default):
        # Not a dequantize node: ONNX Runtime 1.32 fails at one that only a transposition reads.
        floats = _floats(inserter, table.args[0], indices)
        centred = inserter.call(aten.sub.Tensor, floats, argument(table, "zero_point"))
        return inserter.call(aten.mul.Tensor, centred, argument(table, "scale"))
    if not is_call(table, ops.dequantize_per_channel.default) or argument(table, "axis") != 0:
        return None
    floats = _floats(inserter, argument(table, "input"), indices)
    zeros = argument(table, "zero_points")
    if zeros is not None:
        floats = inserter.call(aten.sub.Tensor, floats, _each(inserter, zeros, indices))
    return inserter.call(aten.mul.Tensor, floats, _each(inserter, argument(table, "scales"), indices))


def _floats(inserter: Inserter, table: Any, indices: Any) -> Node:
    return inserter.call(aten.to.dtype, inserter.call(aten.embedding.default, table, indices), torch.float32)


def _each(inserter: Inserter, numbers: Any, indices: Any) -> Node:
    """Return one of `numbers` for each of the rows that are looked up, [..., 1]."""
    return _floats(inserter, inserter.call(aten.unsqueeze.default, numbers, 1), indices)
