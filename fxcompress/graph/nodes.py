"""Verbs on the nodes of a graph: where a node comes from, what it calls, and with which arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

# Calls that keep the row-major order of the elements and give them another shape.
RESHAPES = (
    torch.ops.aten.view,
    torch.ops.aten.reshape,
    torch.ops.aten._unsafe_view,
    torch.ops.aten.view_as,
    torch.ops.aten.reshape_as,
    torch.ops.aten.flatten,
    torch.ops.aten.unflatten,
    torch.ops.aten.squeeze,
    torch.ops.aten.unsqueeze,
    torch.ops.aten.contiguous,
)


def scope(node: Node) -> str:
    """Return the path of the innermost module that `node` was captured in, `""` for the root."""
    stack = node.meta.get("nn_module_stack") or {}
    for path, _ in reversed(list(stack.values())):
        if not path.startswith("_"):
            return str(path)
    return ""


def scopes(graph: Graph) -> dict[Node, str]:
    """Return the scope of every node; a call put in without one belongs with what it reads, as in a diff."""
    found: dict[Node, str] = {}
    for node in graph.nodes:
        found[node] = scope(node)
        if node.op == "call_function" and "nn_module_stack" not in node.meta:
            found[node] = next((found[given] for given in node.all_input_nodes if given.op == "call_function"), "")
    return found


def scope_meta(node: Node) -> dict[str, Any]:
    """Return the meta data that puts another node into the scope of `node`."""
    return {key: value for key, value in node.meta.items() if key == "nn_module_stack"}


def is_call(node: Node, *targets: Any) -> bool:
    """Whether `node` calls one of `targets`; an overload packet stands for all of its overloads."""
    if node.op != "call_function":
        return False
    packet = getattr(node.target, "overloadpacket", None)
    return node.target in targets or (packet is not None and packet in targets)


def calls(graph: Graph, *targets: Any) -> list[Node]:
    """Return the nodes that call one of `targets`, in the order of the graph."""
    return [node for node in graph.nodes if is_call(node, *targets)]


def writes(node: Node) -> bool:
    """Whether `node` is a call that writes into one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def argument_names(node: Node) -> list[str]:
    """Return the names of the arguments in the schema of an ATen call, in their order."""
    return [parameter.name for parameter in node.target._schema.arguments]  # type: ignore[union-attr]


def argument(node: Node, name: str) -> Any:
    """Return the argument of an ATen call by its schema's `name`, its default where it was left out."""
    for position, parameter in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if parameter.name == name:
            if position < len(node.args):
                return node.args[position]
            return node.kwargs.get(name, parameter.default_value)
    raise KeyError(f"{node.target} has no argument {name!r}")


def set_argument(node: Node, name: str, value: Any) -> None:
    """Set the argument of an ATen call by its schema's `name`; earlier defaults are written out."""
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    position = next(i for i, parameter in enumerate(arguments) if parameter.name == name)
    if position < len(node.args):
        node.update_arg(position, value)
    elif name in node.kwargs or arguments[position].kwarg_only:
        node.update_kwarg(name, value)
    else:
        filled = [argument(node, parameter.name) for parameter in arguments[:position]]
        kwargs = {k: v for k, v in node.kwargs.items() if k not in {p.name for p in arguments[:position]}}
        node.args, node.kwargs = (*filled, value), kwargs


def computed_from(node: Node) -> list[Node]:
    """Return `node` and all that it is computed from, in the order of the graph."""
    found: set[Node] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.all_input_nodes
    return sorted(found)
