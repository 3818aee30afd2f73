"""Verbs on the nodes of a graph: where a node comes from, which tensors it reads, how it is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node


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


def is_call(node: Node, *targets: Any) -> bool:
    """Whether `node` calls one of `targets`; an overload packet stands for all of its overloads."""
    if node.op != "call_function":
        return False
    packet = getattr(node.target, "overloadpacket", None)
    return node.target in targets or (packet is not None and packet in targets)


def calls(graph: Graph, *targets: Any) -> list[Node]:
    """Return the nodes that call one of `targets`, in the order of the graph."""
    return [node for node in graph.nodes if is_call(node, *targets)]


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


def tensor_of(module: GraphModule, node: Any) -> torch.Tensor | None:
    """Return the parameter, buffer or constant that a `get_attr` node reads, None for anything else."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    found = attribute(module, str(node.target))
    return found if isinstance(found, torch.Tensor) else None


def attribute(module: torch.nn.Module, path: str) -> Any:
    """Return what stands under a dotted `path` of `module`."""
    found: Any = module
    for word in path.split("."):
        found = getattr(found, word)
    return found


def owner_of(module: torch.nn.Module, path: str) -> tuple[torch.nn.Module, str]:
    """Return the submodule that holds the attribute `path`, made where it is missing, and the last word."""
    *words, last = path.split(".")
    for word in words:
        if not hasattr(module, word):
            module.add_module(word, torch.nn.Module())
        module = getattr(module, word)
    return module, last


def set_tensor(module: torch.nn.Module, path: str, value: torch.Tensor) -> None:
    """Put `value` under `path`: a parameter stays a parameter (with its `requires_grad`), the rest are buffers.

    A tensor that is tied, that is reached under several paths, is replaced under all of them.
    """
    owner, last = owner_of(module, path)
    old = getattr(owner, last, None)
    for place in tied_paths(module, old) if isinstance(old, torch.Tensor) else [path]:
        owner, last = owner_of(module, place)
        persistent = last not in owner._non_persistent_buffers_set
        if hasattr(owner, last):
            delattr(owner, last)
        if isinstance(old, torch.nn.Parameter) and value.is_floating_point():
            if not isinstance(value, torch.nn.Parameter):
                value = torch.nn.Parameter(value.detach(), requires_grad=old.requires_grad)
            owner.register_parameter(last, value)
        else:
            owner.register_buffer(last, value.detach(), persistent=persistent)


def tied_paths(module: torch.nn.Module, tensor: torch.Tensor) -> list[str]:
    """Return every path under which `module` holds the very object `tensor`."""
    return [path for path, held in named_tensors(module) if held is tensor]


def named_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter and buffer under each of its paths, tied ones under all of them."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def free_path(module: torch.nn.Module, path: str) -> str:
    """Return `path`, or `path_1`, `path_2`, ... where it is taken."""
    taken = {name for name, _ in named_tensors(module)} | {name for name, _ in module.named_modules()}
    candidate, count = path, 0
    while candidate in taken:
        count += 1
        candidate = f"{path}_{count}"
    return candidate


def add_tensor(module: GraphModule, path: str, value: torch.Tensor, before: Node) -> Node:
    """Register `value` under a free path like `path` and return a `get_attr` node for it before `before`."""
    path = free_path(module, path)
    owner, last = owner_of(module, path)
    if isinstance(value, torch.nn.Parameter):
        owner.register_parameter(last, value)
    else:
        owner.register_buffer(last, value)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(path)
    node.meta["val"] = value
    return node


def rename_tensor(module: GraphModule, old: str, new: str) -> None:
    """Move a tensor from path `old` to path `new`, over what stood there, and let the nodes that read it follow."""
    owner, last = owner_of(module, old)
    tensor = getattr(owner, last)
    delattr(owner, last)
    owner, last = owner_of(module, new)
    if hasattr(owner, last):
        delattr(owner, last)
    if isinstance(tensor, torch.nn.Parameter):
        owner.register_parameter(last, tensor)
    else:
        owner.register_buffer(last, tensor)
    for node in module.graph.find_nodes(op="get_attr"):
        if node.target == old:
            node.target = new


def drop_unused(module: GraphModule) -> list[str]:
    """Remove dead nodes, and the tensors that no node reads any more; return the removed paths."""
    module.graph.eliminate_dead_code()
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    kept = {id(attribute(module, path)) for path in read}
    gone = [path for path, held in named_tensors(module) if id(held) not in kept]
    for path in gone:
        owner, last = owner_of(module, path)
        delattr(owner, last)
    module.delete_all_unused_submodules()
    return gone
