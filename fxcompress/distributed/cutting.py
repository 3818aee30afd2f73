"""Cutting a graph into modules that run one after the other and hold the parameters that they alone read."""

from __future__ import annotations

import copy
import operator
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from fxcompress.analysis.block_scopes import residual_blocks
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.tensors import named_tensors, owner_of, put_tensor, tensor_of

# Where a graph has no residual blocks, it is cut into so many parts of about equally many parameters.
PARTS = 8
NAME = "part_{}"


class Held(torch.nn.Module):
    """A graph in a module of an ordinary class, as others may change the class of.

    `fully_shard` does; a graph module that switches its flags, and is compiled anew, has to keep its own.
    """

    def __init__(self, graph: CapturedModule) -> None:
        super().__init__()
        self.held = graph

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.held(*args, **kwargs)


def cut(module: CapturedModule) -> CapturedModule:
    """Return a module that computes what `module` does by calling its parts, `part_0` and so on, one after the other.

    The graph is cut behind every residual block. A tensor that one part alone reads belongs to that part, under its
    path; tensors that several read stay outside, and are handed in. All of them are those of `module`, not copies.
    """
    parts = parts_of(module)
    owners = _owners(module, parts)
    root = _holder(module, owners, None)
    graph, known = Graph(), dict[Node, Node]()
    for node in module.graph.nodes:
        if node.op == "placeholder" or (node.op == "get_attr" and _owner(module, owners, node) is None):
            known[node] = graph.node_copy(node)
    for number, nodes in enumerate(parts):
        reading = [node for node in module.graph.find_nodes(op="get_attr") if _owner(module, owners, node) == number]
        taken, given = _border(nodes, reading)
        root.add_module(
            NAME.format(number),
            Held(CapturedModule(_holder(module, owners, number), _inner(reading + nodes, taken, given))),
        )
        called = graph.call_module(NAME.format(number), tuple(known[node] for node in taken))
        for place, node in enumerate(given):
            known[node] = graph.call_function(operator.getitem, (called, place))
            known[node].meta = copy.copy(node.meta)
    graph.output(map_arg(module.graph.output_node().args[0], known.__getitem__))
    # It is called as the whole was, and checks what it is given as that did.
    graph._codegen = copy.copy(module.graph._codegen)
    made = CapturedModule(root, graph)
    made.meta.update(module.meta)
    made.train(module.training)
    return made


def parts_of(module: CapturedModule) -> list[list[Node]]:
    """Return the calls of `module` in their order, cut into parts, none of which is empty."""
    calls = [node for node in module.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    ends = [calls.index(block.exit) + 1 for block in residual_blocks(module).found if block.exit in calls]
    if len(ends) < 2:
        ends = _even_ends(module, calls)
    borders = sorted({0, *ends, len(calls)})
    # What little follows the last block is called outside of it.
    return [calls[start:end] for start, end in pairwise(borders)]


def _even_ends(module: CapturedModule, calls: Sequence[Node]) -> list[int]:
    sizes = {path: tensor.numel() for path, tensor in named_tensors(module)}
    total, reached, ends = sum(sizes.values()), 0, list[int]()
    for place, node in enumerate(calls):
        reached += sum(sizes.get(str(one.target), 0) for one in node.all_input_nodes if one.op == "get_attr")
        if reached * PARTS >= total * (len(ends) + 1):
            ends.append(place + 1)
    return ends


def _owners(module: CapturedModule, parts: Sequence[Sequence[Node]]) -> dict[int, int]:
    """Return by the id of every tensor that one part alone reads the number of that part."""
    place = {node: number for number, nodes in enumerate(parts) for node in nodes}
    readers: dict[int, set[int]] = defaultdict(set)
    for node in module.graph.find_nodes(op="get_attr"):
        readers[id(tensor_of(module, node))] |= {place.get(user, -1) for user in node.users}
    return {key: next(iter(found)) for key, found in readers.items() if len(found) == 1 and -1 not in found}


def _owner(module: CapturedModule, owners: dict[int, int], node: Node) -> int | None:
    """Return the number of the part that the tensor of a `get_attr` node belongs to, None where it stays outside."""
    return owners.get(id(tensor_of(module, node)))


def _holder(module: CapturedModule, owners: dict[int, int], number: int | None) -> torch.nn.Module:
    """Return a module with the tensors of one part, those that stay outside for None, under all their paths."""
    made = torch.nn.Module()
    for path, tensor in named_tensors(module):
        if owners.get(id(tensor)) == number:
            owner, last = owner_of(module, path)
            put_tensor(made, path, tensor, persistent=last not in owner._non_persistent_buffers_set)
    return made


def _border(nodes: Sequence[Node], inner: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Return what a part is given of others, and what others read of it."""
    own = {*nodes, *inner}
    taken = dict.fromkeys(source for node in nodes for source in node.all_input_nodes if source not in own)
    return list(taken), [node for node in nodes if any(user not in own for user in node.users)]


def _inner(nodes: Sequence[Node], taken: Sequence[Node], given: Sequence[Node]) -> Graph:
    """Return the graph of a part."""
    graph, known = Graph(), dict[Node, Node]()
    for node in taken:
        known[node] = graph.placeholder(node.name)
        known[node].meta = copy.copy(node.meta)
    for node in nodes:
        known[node] = graph.node_copy(node, known.__getitem__)
    graph.output(tuple(known[node] for node in given))
    return graph
