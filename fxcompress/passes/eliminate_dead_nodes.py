"""Removal of what no result depends on."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.graph.tensors import drop_unused


@dataclass(frozen=True)
class EliminateDeadNodes(Pass):
    """Remove nodes that no result depends on, and the parameters and buffers that no node reads.

    A call that writes into its arguments stays, and so do the inputs. A call that draws random numbers goes, so that
    the same seed may draw others in training. Among the buffers that go are the counters of batch norm, which no graph
    reads, and modules that nothing calls any more: `state_dict()` then holds what the graph needs and no more.

    `details`: `nodes` and `tensors` list the names of what is gone.
    """

    name = "eliminate-dead-nodes"
    fidelity = "exact"
    nodes = statistic("nodes removed")
    tensors = statistic("parameters and buffers removed")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        before = [node.name for node in module.graph.nodes if node.op != "get_attr"]
        module.graph.eliminate_dead_code(lambda node: node.is_impure(impure_random=False))
        tensors = drop_unused(module)
        after = {node.name for node in module.graph.nodes}
        gone = [name for name in before if name not in after]
        context.record(nodes=len(gone), tensors=len(tensors))
        context.details.update(nodes=gone, tensors=tensors)
        return module
