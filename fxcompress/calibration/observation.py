"""Observers as nodes: a copy of a graph in which calls stand behind the values that are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

import torch
from torch.fx import GraphModule, Node

from fxcompress.errors import InputError, UsageError
from fxcompress.graph.module import CapturedModule, copy_graph
from fxcompress.graph.nodes import scope_meta
from fxcompress.graph.tensors import free_path


class Sees(Protocol):
    """What is told of every value of a node; an observer, for one. It merges with what was told of later batches."""

    def update(self, tensor: torch.Tensor) -> None: ...

    def merge(self, other: Self) -> None: ...


class Observation(torch.nn.Module):
    """Lets an observer see what a node gives, and passes it on as it is.

    Attributes:
        node: the name of the node.
        observer: is told of every value.
    """

    # Dead code elimination keeps the call where nobody reads what it passes on.
    _is_impure = True

    def __init__(self, node: str, observer: Sees) -> None:
        super().__init__()
        self.node, self.observer = node, observer

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return `value`.

        Raises:
            InputError: the observer refuses it; the message begins with the node.
        """
        try:
            self.observer.update(value)
        except InputError as error:
            raise InputError(f"%{self.node}: {error.message}", hint=error.hint) from error
        return value

    def extra_repr(self) -> str:
        return f"%{self.node}: {type(self.observer).__name__}"


def observed(module: GraphModule, observers: Mapping[Node, Sees]) -> GraphModule:
    """Return a copy of `module` in which a call of an `Observation` stands behind each node of `observers`.

    The calls are named after the nodes, `observers_relu` behind `relu`, and what read the node reads the call. The copy
    has all tensors of `module` in common with it, and runs, prints and is debugged like it. Nothing is ever put into
    `module`, so whatever happens to the copy, there is nothing to be taken out.

    Args:
        observers: for nodes of `module` that give one tensor, who is told of it at every call. Behind an input it
            stands after all inputs.

    Raises:
        UsageError: a node is of another graph, or is the output.
    """
    for node in observers:
        if node.graph is not module.graph or node.op == "output":
            hint = "take nodes of module.graph; of the output, what it is given"
            raise UsageError(f"%{node.name} is no value of this graph", hint=hint)
    kind = CapturedModule if isinstance(module, CapturedModule) else GraphModule
    made = kind(module, copy_graph(module.graph), module._get_name())
    here = dict(zip(module.graph.nodes, made.graph.nodes, strict=True))
    holder = free_path(made, "observers")
    inside = next(node for node in made.graph.nodes if node.op != "placeholder")
    for node, observer in observers.items():
        path = f"{holder}.{node.name}"
        made.add_submodule(path, Observation(node.name, observer))
        _insert(here[node], path, before=inside if node.op == "placeholder" else here[node].next)
    made.recompile()
    return made


def _insert(node: Node, path: str, before: Node) -> None:
    """Let all that reads `node` read a call of the module under `path` instead."""
    with node.graph.inserting_before(before):
        call = node.graph.call_module(path, (node,))
    call.meta = scope_meta(node) | {key: value for key, value in node.meta.items() if key == "val"}
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
