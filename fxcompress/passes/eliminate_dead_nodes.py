"""Removal of what no result depends on."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.graph.nodes import drop_unused


@dataclass(frozen=True)
class EliminateDeadNodes(Pass):
    """Remove nodes that no result depends on, and the parameters and buffers that no node reads any more."""

    name = "eliminate-dead-nodes"
    fidelity = "exact"
    nodes = statistic("nodes removed")
    tensors = statistic("parameters and buffers removed")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        before = len(module.graph.nodes)
        dropped = drop_unused(module)
        context.record(nodes=before - len(module.graph.nodes), tensors=len(dropped))
        return module
