"""What modules give, found in the graph: the values computed inside of a module that are read outside of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.flow import reads_size, same_type
from fxcompress.graph.nodes import is_call

aten = torch.ops.aten
_CONVERSIONS = (aten.to, aten.contiguous, aten.alias, aten.dropout, aten.feature_dropout)

# A call of a module: its path, and which of its calls, from 0.
Call = tuple[str, int]


class Places:
    """The module calls of a graph, and the values that they give.

    A module is called twice where the model calls it twice. Its values are counted in the order of their computation:
    they are tensors that are read outside of it, or are results of the model. A call that a pass put in belongs with
    what it reads, where a module has no calls of its own left.
    """

    def __init__(self, module: GraphModule) -> None:
        self.own: dict[Call, list[Node]] = defaultdict(list)
        self.joined: dict[Call, list[Node]] = defaultdict(list)
        inherited: dict[Node, tuple[Call, ...]] = {}
        for node in module.graph.nodes:
            if node.op != "call_function":
                continue
            calls = module_calls(node)
            if calls is None:
                calls = next((inherited[given] for given in node.all_input_nodes if given in inherited), ())
            else:
                for call in calls:
                    self.own[call].append(node)
            inherited[node] = calls
            for call in calls:
                self.joined[call].append(node)
        self.counts: dict[str, int] = defaultdict(int)
        for path, number in self.joined:
            self.counts[path] = max(self.counts[path], number + 1)
        self.found: dict[Call, tuple[Node, ...]] = {}

    def paths(self) -> list[str]:
        """Return the paths of all modules that calls of the graph were made in, in their order."""
        return list(dict.fromkeys(path for path, _ in self.joined if path))

    def calls(self, path: str) -> list[int]:
        """Return which calls of the module at `path` the graph holds."""
        return [number for number in range(self.counts.get(path, 0)) if (path, number) in self.joined]

    def values(self, call: Call) -> tuple[Node, ...]:
        """Return the tensors that one call of a module gives, in the order of the graph."""
        if call not in self.found:
            own = given_outside(self.own.get(call, ()))
            self.found[call] = own or given_outside(self.joined.get(call, ()))
        return self.found[call]


def module_calls(node: Node) -> tuple[Call, ...] | None:
    """Return the calls of modules that `node` was captured in, from the outside in; None where a pass put it in."""
    stack = node.meta.get("nn_module_stack")
    if stack is None:
        return None
    found = []
    for key, (path, _) in stack.items():
        # What export puts in by itself stands in a module of an invented name, which is its own path.
        if path and not (str(key) == str(path) and str(path).startswith("_")):
            number = str(key).rpartition("@")[2] if "@" in str(key) else "0"
            found.append((str(path), int(number) if number.isdigit() else 0))
    return tuple(found)


def given_outside(members: Iterable[Node]) -> tuple[Node, ...]:
    """Return those of `members` that are tensors whose values somebody else reads."""
    inside = dict.fromkeys(members)
    between = {user: None for node in inside for user in node.users if _only_read_by(user, inside)}
    inside |= between
    found = [
        node
        for node in inside
        if isinstance(node.meta.get("val"), torch.Tensor)
        and any(user not in inside and not reads_size(user) for user in node.users)
    ]
    # A conversion that converts nothing gives its input itself, which others then read under this name.
    own = [node for node in found if not _gives_its_input(node, inside)]
    return tuple(sorted(own or found))


def _only_read_by(node: Node, inside: Container[Node]) -> bool:
    """Whether nobody but `inside` reads `node`: a view that was moved there when a call in place was replaced."""
    return node not in inside and bool(node.users) and all(user in inside for user in node.users)


def _gives_its_input(node: Node, inside: Container[Node]) -> bool:
    """Whether `node` gives a tensor of somebody else as it is."""
    source = node.args[0] if node.args else None
    return (
        is_call(node, *_CONVERSIONS) and isinstance(source, Node) and source not in inside and same_type(source, node)
    )
