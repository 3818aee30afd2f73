"""Weights with a scale for each group that no layer of integers reads: written out in plain arithmetic."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.graph.nodes import calls
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten


def spell_out_groups(module: GraphModule) -> int:
    """Write every `dequantize_per_channel_group` that is left out, since ONNX has no such view; return how many."""
    found = calls(module.graph, quantized_decomposed().dequantize_per_channel_group.default)
    for node in found:
        weight, scales, zeros, *_, group, dtype = node.args
        inserter = Inserter(module, node)
        shape = list(node.meta["val"].shape)
        parts = inserter.call(aten.reshape.default, weight, [shape[0], -1, group])
        wide = inserter.call(aten.to.dtype, parts, dtype)
        if zeros is not None:
            wide = inserter.call(aten.sub.Tensor, wide, inserter.call(aten.unsqueeze.default, zeros, -1))
        scaled = inserter.call(aten.mul.Tensor, wide, inserter.call(aten.unsqueeze.default, scales, -1))
        node.replace_all_uses_with(inserter.call(aten.reshape.default, scaled, shape))
        module.graph.erase_node(node)
    return len(found)
