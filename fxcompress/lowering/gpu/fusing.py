"""The rounding of an input to 8 bits goes into the node that makes the input, where nothing else reads it."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, scope_meta
from fxcompress.lowering.claims import post_of

aten, ops = torch.ops.aten, torch.ops.fxcompress
# The arguments of `gpu_norm_quantize_rows`: input, other, weight, bias, kind, eps.
Maker = tuple[Node, Node | None, Any, Any, str, float]


def fuse_rounding(module: GraphModule) -> int:
    """Let norms and activation functions round what they give; return how many do."""
    count = 0
    for call in calls(module.graph, ops.gpu_quantize_rows.default):
        given = call.args[0]
        found = maker_of(given) if isinstance(given, Node) and len(given.users) == 1 else None
        if found is not None:
            with module.graph.inserting_before(call):
                made = module.graph.call_function(ops.gpu_norm_quantize_rows.default, found, dict(call.kwargs))
            made.meta = scope_meta(call)
            call.replace_all_uses_with(made)
            module.graph.erase_node(call)
            count += 1
    return count


def maker_of(node: Node) -> Maker | None:
    """Return how one call rounds what `node` gives; None where `node` is no norm or activation function."""
    if is_call(node, aten.layer_norm.default) and len(argument(node, "normalized_shape")) == 1:
        weight, bias, eps = (argument(node, name) for name in ("weight", "bias", "eps"))
        return argument(node, "input"), None, weight, bias, "layer", float(eps)
    if is_call(node, aten.rms_norm.default) and len(argument(node, "normalized_shape")) == 1:
        eps = argument(node, "eps")
        smallest = torch.finfo(node.meta["val"].dtype).eps
        weight = argument(node, "weight")
        return argument(node, "input"), None, weight, None, "rms", smallest if eps is None else float(eps)
    post = post_of(node)
    if post is not None:
        return node.all_input_nodes[0], None, None, None, post, 0.0
    return _gated(node) or spelled_rms_norm(node)


def _gated(node: Node) -> Maker | None:
    """Return the same for the product of an activation function, which nothing else reads, and another value."""
    if not is_call(node, aten.mul.Tensor):
        return None
    for one, other in (node.args[:2], node.args[1::-1]):
        if not isinstance(one, Node) or not isinstance(other, Node) or len(one.users) > 1:
            continue
        post, same = post_of(one), one.meta["val"].shape == other.meta["val"].shape
        if post is not None and same and one.meta["val"].dtype == other.meta["val"].dtype:
            return one.all_input_nodes[0], other, None, None, post, 0.0
    return None


def spelled_rms_norm(node: Node) -> Maker | None:
    """Return the same for `weight * x * rsqrt(mean(x ** 2) + eps)`, as decoders spell their norms."""
    parts = _factors(node)
    weight = next((one for one in parts if one.op == "get_attr"), None)
    scaled = next((one for one in parts if one.op != "get_attr"), None)
    if weight is None or scaled is None:
        return None
    for one, other in _pairs(_unconverted(scaled)):
        if is_call(other, aten.rsqrt.default) and (eps := _mean_square(other.args[0], one)) is not None:
            return _unconverted(one), None, weight, None, "rms", eps
    return None


def _factors(node: Any) -> list[Node]:
    return [one for one in node.args[:2] if isinstance(one, Node)] if is_call(node, aten.mul.Tensor) else []


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    found = _factors(node)
    return [(found[0], found[1]), (found[1], found[0])] if len(found) == 2 else []


def _unconverted(node: Node) -> Node:
    """Return what `node` converts to another float, or `node`."""
    while is_call(node, aten.to.dtype, aten._to_copy.default):
        node = node.all_input_nodes[0]
    return node


def _mean_square(node: Any, x: Node) -> float | None:
    """Return eps where `node` is the mean of the squares of `x` over the last axis, plus eps; None for another."""
    if not isinstance(node, Node) or not is_call(node, aten.add.Tensor, aten.add.Scalar):
        return None
    mean, eps = node.args[:2]
    if not isinstance(mean, Node) or not is_call(mean, aten.mean.dim) or not isinstance(eps, float):
        return None
    square = mean.args[0]
    last = list(argument(mean, "dim")) in ([-1], [x.meta["val"].dim() - 1]) and argument(mean, "keepdim")
    squared = isinstance(square, Node) and (
        (is_call(square, aten.pow.Tensor_Scalar) and square.args == (x, 2))
        or (is_call(square, aten.mul.Tensor) and square.args == (x, x))
        or (is_call(square, aten.square.default) and square.args == (x,))
    )
    return eps if last and squared else None
