"""The regions of a graph between two of its values, and whether one can go without anybody missing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import is_call, writes
from fxcompress.graph.tensors import tensor_of
from fxcompress.graph.types import size_text, type_text

aten = torch.ops.aten


class Flow:
    """The order of a graph, what is computed from its inputs, and the regions between two of its values."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.place = {node: place for place, node in enumerate(module.graph.nodes)}
        self.fed: set[Node] = set()
        for node in module.graph.nodes:
            if node.op == "placeholder" or any(given in self.fed for given in node.all_input_nodes):
                self.fed.add(node)

    def behind(self, last: Node, first: int) -> set[Node]:
        """Return `last` and what it is computed from, as far back as the place `first`."""
        found: set[Node] = set()
        waiting = [last]
        while waiting:
            node = waiting.pop()
            if node not in found and self.place[node] >= first:
                found.add(node)
                waiting += node.all_input_nodes
        return found

    def region(self, entry: Node, last: Node) -> list[Node]:
        """Return the nodes on any way from `entry` to `last`, this one included, in the order of the graph."""
        return computed_within(entry, sorted(self.behind(last, self.place[entry] + 1), key=self.place.__getitem__))

    def tensors(self, nodes: Iterable[Node]) -> list[Node]:
        """Return the `get_attr` nodes that `nodes` read, directly or through calls that know no input."""
        found: set[Node] = set()
        waiting = [given for node in nodes for given in node.all_input_nodes if given not in self.fed]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += node.all_input_nodes
        return sorted((node for node in found if node.op == "get_attr"), key=self.place.__getitem__)

    def has_weights(self, nodes: Iterable[Node]) -> bool:
        """Whether `nodes` read a parameter, or a matrix: a branch without one is arithmetic, such as that of a GELU."""
        held = (tensor_of(self.module, node) for node in self.tensors(nodes))
        return any(isinstance(one, torch.nn.Parameter) or (one is not None and one.dim() > 1) for one in held)


def computed_within(entry: Node, nodes: Sequence[Node]) -> list[Node]:
    """Return those of `nodes` that are computed from the values of `entry` by others of them, in their order."""
    found = {entry}
    for node in nodes:
        if not reads_size(node) and any(given in found for given in node.all_input_nodes):
            found.add(node)
    return [node for node in nodes if node in found]


def reads_size(node: Node) -> bool:
    """Whether `node` looks at one size of its argument and at none of its values."""
    return is_call(node, aten.sym_size.int)


def same_size(value: Node, size: Node) -> int | None:
    """Return the dimension of `value` that has what the call `size` reads elsewhere, None where none has."""
    wanted, given = size_text(size.meta["val"]), value.meta["val"].shape
    return next((dim for dim, one in enumerate(given) if size_text(one) == wanted), None)


def same_type(one: Node, other: Node) -> bool:
    """Whether both give tensors of one dtype, device and shape, symbolic sizes being the same expression."""
    left, right = one.meta.get("val"), other.meta.get("val")
    if not (isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)):
        return False
    return left.device == right.device and type_text(left) == type_text(right)


def why_not(entry: Node, nodes: Sequence[Node], readers: set[Node], result: Node) -> str | None:
    """Return why `nodes` cannot go, None where they can.

    A size that is read of one of them is no reason where `entry` has that size too.

    Args:
        nodes: the region behind `entry`, in the order of the graph.
        readers: what reads the last of them.
        result: the node whose place another value would take.
    """
    inside = set(nodes)
    for node in nodes:
        allowed = inside | readers if node is nodes[-1] else inside
        for user in (user for user in node.users if user not in allowed):
            stranger = user if node is nodes[-1] else reader_of(entry, user, inside)
            if stranger is not None:
                return f"%{stranger.name} reads %{node.name} inside of it"
    writer = next((node for node in (*nodes, *result.users) if writes(node)), None)
    return None if writer is None else f"%{writer.name} writes into what it is given"


def reader_of(entry: Node, user: Node, inside: set[Node]) -> Node | None:
    """Return the node outside that misses something where `user`, which reads a value inside, is gone."""
    if not reads_size(user):
        return user
    if same_size(entry, user) is not None:
        return None
    return next((reader for reader in user.users if reader not in inside), None)
