"""Attention as products and a softmax, of which the exporter would make many more nodes."""

from __future__ import annotations

import math

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten
# The lowest float32: a score that it is added to has no weight, and rows of such scores alone are no NaN.
MASKED = torch.finfo(torch.float32).min


def spell_out_attention(module: GraphModule) -> int:
    """Write the plain calls of `scaled_dot_product_attention` out; return how many.

    Those that are causal, drop out, group their queries or calculate in other than float32 are left to the exporter.
    """
    found = [node for node in calls(module.graph, aten.scaled_dot_product_attention.default) if _plain(node)]
    for node in found:
        _spell_out(module, node)
    return len(found)


def _plain(node: Node) -> bool:
    odd = argument(node, "is_causal") or argument(node, "enable_gqa") or argument(node, "dropout_p")
    types = [argument(node, name).meta["val"] for name in ("query", "key", "value")]
    return not odd and all(one.dtype == torch.float32 and one.dim() == types[0].dim() for one in types)


def _spell_out(module: GraphModule, node: Node) -> None:
    query, key, value = (argument(node, name) for name in ("query", "key", "value"))
    mask, scale = argument(node, "attn_mask"), argument(node, "scale")
    scale = 1 / math.sqrt(int(query.meta["val"].shape[-1])) if scale is None else float(scale)
    inserter = Inserter(module, node)
    turned = inserter.call(aten.transpose.int, key, -2, -1)
    scores = inserter.call(aten.matmul.default, inserter.call(aten.mul.Tensor, query, scale), turned)
    boolean = mask is not None and mask.meta["val"].dtype == torch.bool
    if mask is not None:
        scores = inserter.call(aten.add.Tensor, scores, _added(inserter, mask) if boolean else mask)
    weights = inserter.call(aten.softmax.int, scores, -1)
    result = inserter.call(aten.matmul.default, weights, value)
    if boolean:
        result = _cleared(inserter, mask, result)
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _added(inserter: Inserter, mask: Node) -> Node:
    """Return what a mask of booleans adds to scores."""
    return inserter.call(
        aten.mul.Tensor,
        inserter.call(aten.to.dtype, inserter.call(aten.logical_not.default, mask), torch.float32),
        MASKED,
    )


def _cleared(inserter: Inserter, mask: Node, result: Node) -> Node:
    """Return `result` with zeros for queries that may look at nothing, as attention gives."""
    some = inserter.call(aten.any.dim, mask, -1, True)
    return inserter.call(aten.mul.Tensor, result, inserter.call(aten.to.dtype, some, torch.float32))
