"""What a graph costs when slots are gone, computed from the axes alone: no graph is rewritten for it."""

from __future__ import annotations

from math import prod

from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import CONTRACT
from fxcompress.analysis.axes.groups import Left
from fxcompress.analysis.axes.terms import Term
from fxcompress.analysis.cost import cost, is_weight
from fxcompress.capturing import Inputs
from fxcompress.graph.tensors import attribute


class Costs:
    """Parameters and multiply-accumulates of one module as functions of what is left."""

    def __init__(self, module: GraphModule, axes: Axes, inputs: Inputs) -> None:
        by_node = cost(module, inputs=inputs).by_node
        named = {node.name: node for node in module.graph.nodes}
        self._calls = [(macs, _scaling(axes, named[name])) for name, macs in by_node.items() if macs]
        self._tensors = [
            [axis.term for axis in value.axes if axis.size > 1]
            for path, value in axes.stored.items()
            if is_weight(attribute(module, path))
        ]

    def macs(self, left: Left) -> float:
        """Return the multiply-accumulates of one call with the inputs of the constructor."""
        return sum(macs * prod(left.size(term) / term.size for term in terms) for macs, terms in self._calls)

    def params(self, left: Left) -> int:
        """Return the number of parameters that nodes read."""
        return sum(prod(left.size(term) for term in terms) for terms in self._tensors)


def _scaling(axes: Axes, node: Node) -> list[Term]:
    """Return the terms that the work of a call grows with: the axes of its result, and those it contracts."""
    made = [axis.term for value in axes.values[node][:1] if value is not None for axis in value.axes if axis.size > 1]
    return made + [role.term for role in axes.roles[node] if role.kind == CONTRACT]
