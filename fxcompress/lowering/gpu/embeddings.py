"""Embeddings of stored integers: only the rows that are read become floats."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.rewriting import finish
from fxcompress.lowering.stored_weights import Quantized, weight_of

aten = torch.ops.aten


def lower_embeddings(module: GraphModule, selected: set[Node]) -> dict[str, dict[str, Any]]:
    """Look up the integers and the scales of embeddings among `selected`; return what to tell of each."""
    found: dict[str, dict[str, Any]] = {}
    for layer in calls(module.graph, aten.embedding.default):
        weight = weight_of(module, argument(layer, "weight")) if layer in selected else None
        if isinstance(weight, Quantized) and weight.integers.op == "get_attr":
            made = _rows(layer, weight)
            finish(Claim("embedding", layer, argument(layer, "indices"), weight, None, layer), made)
            found[made.name] = {"kind": "embedding", "layers": [layer.name]}
    return found


def _rows(layer: Node, weight: Quantized) -> Node:
    """Insert what looks rows up and makes floats of them."""
    graph, value, indices = layer.graph, layer.meta["val"], argument(layer, "indices")

    def look_up(table: Node) -> Node:
        return graph.call_function(aten.index.Tensor, (table, [indices]))

    with graph.inserting_before(layer):
        wide = graph.call_function(aten.to.dtype, (look_up(weight.integers), torch.float32))
        if weight.group:
            wide = graph.call_function(aten.unflatten.int, (wide, -1, [-1, weight.group]))
        if weight.zeros is not None and weight.group:
            zeros = graph.call_function(aten.unsqueeze.default, (look_up(weight.zeros), -1))
            wide = graph.call_function(aten.sub.Tensor, (wide, zeros))
        assert weight.scales is not None
        scales = graph.call_function(aten.unsqueeze.default, (look_up(weight.scales), -1))
        made = graph.call_function(aten.mul.Tensor, (wide, scales))
        if weight.group:
            made = graph.call_function(aten.flatten.using_ints, (made, -2))
        made = graph.call_function(aten.to.dtype, (made, value.dtype))
        made._rename(f"{layer.name}_lowered")
    return made
