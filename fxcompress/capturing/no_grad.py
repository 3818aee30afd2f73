"""Inlines the regions that export wraps: `torch.no_grad()` and autocast that is switched off."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fxcompress.graph.nodes import is_call
from fxcompress.graph.tensors import attribute

aten = torch.ops.aten
set_grad_enabled = torch.ops.higher_order.wrap_with_set_grad_enabled
autocast = torch.ops.higher_order.wrap_with_autocast


def inline_regions(module: GraphModule) -> list[str]:
    """Replace calls of wrapped regions by their nodes; return notes on those that have to stay.

    Where gradients are off inside of a region, and a result of it depends on a parameter or an input, the result is
    detached where it leaves the region, so that gradients stop where they stopped.
    """
    notes = []
    skipped: set[Node] = set()
    while region := next((node for node in _regions(module) if node not in skipped), None):
        reason = _obstacle(module, region)
        if reason is None:
            _inline(module, region)
        else:
            skipped.add(region)
            notes.append(f"the region %{region.name} stays wrapped: {reason}")
    return notes


def _regions(module: GraphModule) -> Iterator[Node]:
    return (node for node in module.graph.nodes if node.target in (set_grad_enabled, autocast))


def _body_place(region: Node) -> int:
    """Return the position of the body among the arguments: behind the flag, or behind the options of autocast."""
    return 1 if region.target is set_grad_enabled else 4


def _obstacle(module: GraphModule, region: Node) -> str | None:
    """Return why `region` cannot be inlined without a difference, None where it can."""
    if region.target is autocast and region.args[2]:
        return "autocast chooses the dtypes inside"
    if any(not is_call(user, operator.getitem) for user in region.users):
        return "its results are used as a whole"
    body = attribute(module, str(region.args[_body_place(region)].target))  # type: ignore[union-attr]
    if region.target is set_grad_enabled and not region.args[0] and _changes_arguments(body):
        return "it changes a tensor from outside without gradients"
    return None


def _changes_arguments(body: GraphModule) -> bool:
    """Whether a node of `body` writes into what was handed to it, directly or through views of it."""
    outside = {node for node in body.graph.nodes if node.op == "placeholder"}
    for node in body.graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        for parameter, value in zip(node.target._schema.arguments, node.args, strict=False):
            if parameter.alias_info is not None and value in outside:
                if parameter.alias_info.is_write:
                    return True
                outside.add(node)
    return False


def _inline(module: GraphModule, region: Node) -> None:
    """Copy the nodes of the body before `region` and hand its results to the readers."""
    place = _body_place(region)
    body_node = region.args[place]
    assert isinstance(body_node, Node)
    body = attribute(module, str(body_node.target))
    values: dict[Node, Any] = {}
    given = iter(region.args[place + 1 :])
    without_gradients = region.target is set_grad_enabled and not region.args[0]
    results: Any = ()
    for node in body.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "output":
            results = map_arg(node.args[0], lambda inner: values[inner])
        else:
            values[node] = _copied(module, node, values, region, body)
    if without_gradients:
        inside = set(values.values())
        results = [_without_gradients(module, value, region, inside) for value in results]
    for user in list(region.users):
        user.replace_all_uses_with(results[user.args[1]])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
    if not body_node.users:
        module.graph.erase_node(body_node)


def _copied(module: GraphModule, node: Node, values: dict[Node, Any], region: Node, body: GraphModule) -> Node:
    """Return a copy of the body's `node` before `region`; what a nested region calls moves to the outer module."""
    with module.graph.inserting_before(region):
        made = module.graph.node_copy(node, lambda inner: values[inner])
    for key, value in region.meta.items():
        if key in ("nn_module_stack", "stack_trace"):
            made.meta.setdefault(key, value)
    if node.op == "get_attr":
        made.target = f"{region.name}_{node.target}"
        setattr(module, made.target, attribute(body, str(node.target)))
    return made


def _without_gradients(module: GraphModule, value: Any, region: Node, inside: set[Any]) -> Any:
    """Return `value`, detached where gradients would flow through it."""
    if not isinstance(value, Node) or value not in inside or not _differentiable(module, value):
        return value
    with module.graph.inserting_before(region):
        made = module.graph.create_node("call_function", aten.detach.default, (value,), name=f"{value.name}_detach")
    made.meta.update(value.meta)
    return made


def _differentiable(module: GraphModule, node: Node) -> bool:
    """Whether what `node` gives is of a dtype that has gradients and depends on a parameter or an input."""
    seen: set[Node] = set()
    pending = [node]
    while pending:
        current = pending.pop()
        if current in seen or not _has_gradients(current.meta.get("val")):
            continue
        seen.add(current)
        if current.op == "placeholder" or is_call(current, aten.detach):
            if current.op == "placeholder":
                return True
            continue
        if current.op == "get_attr" and isinstance(attribute(module, str(current.target)), torch.nn.Parameter):
            return True
        pending.extend(current.all_input_nodes)
    return False


def _has_gradients(value: Any) -> bool:
    """Whether `value` may carry gradients: an unknown one may, integers and numbers do not."""
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() or value.is_complex()
    return value is None or isinstance(value, tuple | list)
