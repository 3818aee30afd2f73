"""Looking weights up with PyTorch's own operators, for files that others read."""

from __future__ import annotations

import copy

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.module import CapturedModule
from fxcompress.graph.nodes import calls
from fxcompress.graph.tensors import add_tensor, drop_unused, tensor_of
from fxcompress.kernels.shared_weights import rows_of_a_block
from fxcompress.quantizing.nodes import Inserter

aten = torch.ops.aten


def without_sharing(module: CapturedModule) -> CapturedModule:
    """Return `module`, or where weights share values a copy that looks them up in tables with a zero in front."""
    if not calls(module.graph, torch.ops.fxcompress.shared_weights):
        return module
    made = copy.deepcopy(module)
    for node in calls(made.graph, torch.ops.fxcompress.shared_weights):
        _spell_out(made, node)
    drop_unused(made)
    made.recompile()
    return made


def _spell_out(module: GraphModule, node: Node) -> None:
    source, indices = node.args
    assert isinstance(source, Node)
    assert isinstance(indices, Node)
    codebook, places = tensor_of(module, source), tensor_of(module, indices)
    assert codebook is not None
    assert places is not None
    blocks, values = codebook.shape
    table = torch.cat([codebook.detach().new_zeros(blocks, 1), codebook.detach()], 1).flatten()
    inserter = Inserter(module, node)
    stored = add_tensor(module, f"{source.target}_table", table, node)
    wide = inserter.call(aten.to.dtype, indices, torch.int64)
    if blocks > 1:
        block = torch.arange(places.shape[0]) // rows_of_a_block(places.shape[0], blocks)
        offsets = (block * (values + 1)).view(-1, *[1] * (places.dim() - 1))
        wide = inserter.call(aten.add.Tensor, wide, add_tensor(module, f"{source.target}_offsets", offsets, node))
    found = inserter.call(aten.index.Tensor, stored, [wide], name=f"{indices.name}_looked_up")
    found.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(found)
    module.graph.erase_node(node)
