"""Linears and convolutions that stay in floats, calculated in bfloat16 where that is faster here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, scope_meta, set_argument
from fxcompress.graph.tensors import tensor_of
from fxcompress.kernels.narrow import has_bf16
from fxcompress.lowering import choosing_narrow
from fxcompress.lowering.claims import post_of
from fxcompress.lowering.images import numbers

aten, ops = torch.ops.aten, torch.ops.fxcompress
_LINEAR = (aten.linear.default,)
_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
_OURS = (ops.linear_bf16.default, ops.conv_bf16.default)


@dataclass(frozen=True)
class Layer:
    """A layer in floats: its stored weight, in floats or as integers with scales, and its activation function."""

    node: Node
    weight: Node
    scales: Node | None
    bias: Node | None
    last: Node
    post: str


def lower_narrow(module: GraphModule, selected: set[Node], measure: bool) -> dict[str, dict[str, Any]]:
    """Put calls in bfloat16 in the place of layers among `selected`; return what was done by the names of the calls."""
    told: dict[str, dict[str, Any]] = {}
    if not has_bf16():
        return told
    narrowed: dict[Node, Node] = {}
    for node in calls(module.graph, *_LINEAR, *_CONVOLUTIONS):
        layer = _layer(module, node) if node in selected else None
        if layer is None:
            continue
        took = choosing_narrow.measured(layer.node, layer.post) if measure else {}
        if not measure or choosing_narrow.saves(took):
            made = _put(module, layer, narrowed)
            microseconds = {name: round(one, 1) for name, one in took.items()}
            told[made.name] = {
                "kind": "bf16", "layers": [node.name], "backend": "onednn", "microseconds": microseconds,
            }  # fmt: skip
    _stay_narrow(module)
    return told


def look_up_narrow(module: GraphModule, selected: set[Node]) -> None:
    """Let embeddings among `selected` look up in a table of bfloat16 as it is stored, and widen the rows alone."""
    for node in calls(module.graph, aten.embedding.default):
        weight = argument(node, "weight")
        table = _before_widening(weight) if node in selected and isinstance(weight, Node) else None
        if table is not None and tensor_of(module, table) is not None:
            with module.graph.inserting_after(node):
                wide = module.graph.call_function(aten.to.dtype, (node, weight.meta["val"].dtype))
            wide.meta = dict(node.meta)
            node.meta["val"] = node.meta["val"].to(torch.bfloat16)
            node.replace_all_uses_with(wide, delete_user_cb=lambda user, wide=wide: user is not wide)  # type: ignore[misc]
            set_argument(node, "weight", table)


def _layer(module: GraphModule, node: Node) -> Layer | None:
    """Return what is to be known of a layer of float32 with a stored weight and bias, None for another."""
    given, bias = argument(node, "input"), argument(node, "bias")
    value = given.meta["val"]
    batched = is_call(node, *_LINEAR) or value.dim() == argument(node, "weight").meta["val"].dim()
    if value.dtype != torch.float32 or value.device.type != "cpu" or not batched:
        return None
    stored = _stored(module, argument(node, "weight"))
    shift = tensor_of(module, bias)
    if stored is None or (bias is not None and (shift is None or shift.dtype != torch.float32)):
        return None
    after = next(iter(node.users)) if len(node.users) == 1 else None
    post = post_of(after) if after is not None and after.args[:1] == (node,) else None
    last = after if after is not None and post is not None else node
    return Layer(node, *stored, bias, last, post or "none")


def _stored(module: GraphModule, weight: Any) -> tuple[Node, Node | None] | None:
    """Return the node of stored floats, or those of stored integers and of the scales of their outputs."""
    if not isinstance(weight, Node):
        return None
    plain = tensor_of(module, weight)
    if plain is not None:
        return (weight, None) if plain.dtype == torch.float32 else None
    widened = _before_widening(weight)
    if widened is not None:
        return (widened, None) if tensor_of(module, widened) is not None else None
    if not is_call(weight, *_held()) or weight.meta["val"].dtype != torch.float32:
        return None
    if is_call(weight, ops.held_channels) and argument(weight, "axis") == 0:
        simple = argument(weight, "zeros") is None and not argument(weight, "transposed")
        scales = argument(weight, "scales")
        if simple and tensor_of(module, scales) is not None:
            return argument(weight, "integers"), scales
    return weight, None


def _before_widening(node: Node) -> Node | None:
    """Return what `node` makes float32 of bfloat16, None where it does not."""
    given = node.args[0] if is_call(node, aten.to.dtype) else None
    narrow = isinstance(given, Node) and given.meta["val"].dtype == torch.bfloat16
    return given if isinstance(given, Node) and narrow else None


def _held() -> tuple[Any, ...]:
    return ops.held_channels, ops.held_tensor, ops.held_groups, ops.held_product, ops.held_shared_weights


def _put(module: GraphModule, layer: Layer, narrowed: dict[Node, Node]) -> Node:
    """Put the call in the place of `layer`; an activation that several read becomes bfloat16 once."""
    node = layer.node
    given = argument(node, "input")
    before = _before_widening(given)
    if before is not None:
        narrowed[given] = before
    with module.graph.inserting_before(node):
        if given not in narrowed:
            narrowed[given] = module.graph.call_function(aten.to.dtype, (given, torch.bfloat16))
            narrowed[given].meta = {**scope_meta(node), "val": given.meta["val"].to(torch.bfloat16)}
        operands: tuple[Any, ...] = (narrowed[given], layer.weight, layer.scales, layer.bias)
        target = ops.linear_bf16.default
        if is_call(node, *_CONVOLUTIONS):
            geometry = [numbers(argument(node, name)) for name in ("stride", "padding", "dilation")]
            operands, target = (*operands, *geometry, argument(node, "groups")), ops.conv_bf16.default
        made = module.graph.create_node(
            "call_function", target, (*operands, layer.post, False), name=f"{node.name}_lowered"
        )
    made.meta = dict(layer.last.meta)
    layer.last.replace_all_uses_with(made)
    for old in dict.fromkeys((layer.last, node)):
        module.graph.erase_node(old)
    return made


def _stay_narrow(module: GraphModule) -> None:
    """Let results that layers in bfloat16 alone read stay bfloat16."""
    for node in calls(module.graph, aten.to.dtype):
        given = node.args[0]
        ours = isinstance(given, Node) and is_call(given, *_OURS) and list(given.users) == [node]
        if isinstance(given, Node) and ours and node.args[1] == torch.bfloat16:
            set_argument(given, "narrow", True)
            given.meta["val"] = node.meta["val"]
            node.replace_all_uses_with(given)
            module.graph.erase_node(node)
