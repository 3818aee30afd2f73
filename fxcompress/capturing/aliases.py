"""Which nodes share memory: read off the storages of the fake tensors that a propagation left in `meta["val"]`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree


class Aliases:
    """The nodes of a graph by the storages that their values lie in.

    Fake tensors share storages exactly as real ones do, also where a schema does not say so: `dropout` in evaluation
    mode gives its very input. Nodes that are replaced later stay in their class, which errs on the safe side.
    """

    def __init__(self, graph: Graph) -> None:
        self.order = {node: place for place, node in enumerate(graph.nodes)}
        self.nodes: dict[int, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for storage in storages(node.meta.get("val")):
                self.nodes[storage].append(node)

    def of(self, node: Node) -> list[Node]:
        """Return the other nodes that share memory with what `node` gives."""
        found = {other: None for storage in storages(node.meta.get("val")) for other in self.nodes[storage]}
        return [other for other in found if other is not node]

    def used_after(self, node: Node, place: Node) -> bool:
        """Whether something behind `place` in the graph reads what `node` gives."""
        return any(self.order[user] > self.order[place] for user in node.users if user in self.order)


def storages(value: Any) -> set[int]:
    """Return the identities of the storages in a nest of tensors."""
    leaves = pytree.tree_leaves(value)
    return {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, torch.Tensor)}
