"""Which nodes share memory: read off the storages of the fake tensors that a propagation left in `meta["val"]`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.utils import _pytree as pytree

from fxcompress.graph.nodes import calls

aten = torch.ops.aten
_DROPOUT = (aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout)


class Aliases:
    """The nodes of a graph by the storages that their values lie in.

    Fake tensors share storages as real ones do, also where a schema does not say so. The exception is dropout, which
    in evaluation mode gives its very input, but a copy of it when it is traced. Nodes that are replaced stay in their
    class, which errs on the safe side.
    """

    def __init__(self, graph: Graph) -> None:
        self.order: dict[Node, float] = {node: place for place, node in enumerate(graph.nodes)}
        self.storages = {node: _storages(node.meta.get("val")) for node in graph.nodes}
        for node in calls(graph, *_DROPOUT):
            self.storages[node] |= self.storages[node.args[0]]
        self.nodes: dict[int, list[Node]] = defaultdict(list)
        for node, storages in self.storages.items():
            for storage in storages:
                self.nodes[storage].append(node)

    def of(self, node: Node) -> list[Node]:
        """Return the other nodes that share memory with what `node` gives."""
        found = {other: None for storage in self.storages[node] for other in self.nodes[storage]}
        return [other for other in found if other is not node]

    def share(self, one: Node, other: Node) -> bool:
        """Whether the two nodes share memory."""
        return not self.storages[one].isdisjoint(self.storages[other])

    def place(self, node: Node, before: Node) -> None:
        """Take in a new node that stands before `before`, and gives fresh memory as long as nothing else is said."""
        self.order[node] = self.order[before] - 0.5
        self.storages[node] = set()

    def join(self, node: Node, beside: Node) -> None:
        """Count `node` among those that share memory with what `beside` gives."""
        self.storages[node] |= self.storages[beside]
        for storage in self.storages[beside]:
            self.nodes[storage].append(node)

    def readers_after(self, node: Node, place: Node) -> list[Node]:
        """Return what stands behind `place` in the graph and reads what `node` gives."""
        return [user for user in node.users if self.order[user] > self.order[place]]


def _storages(value: Any) -> set[int]:
    """Return the identities of the storages in a nest of tensors."""
    leaves = pytree.tree_leaves(value)
    return {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, torch.Tensor)}
