"""The graph with the calls of kernels in the place of patterns."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, scope_meta, set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.lowering.claims import Claim, quantizes_u8
from fxcompress.lowering.merging import reshape_views

aten = torch.ops.aten
ops = torch.ops.fxcompress
# Under this name a node that is read no more keeps what is read in its place.
_INSTEAD = "lowered"


def replace(module: GraphModule, claims: Sequence[Claim], backend: str) -> Node:
    """Put one call in the place of `claims`, which read the same, and return it."""
    first = min(claims, key=lambda claim: claim.layer).layer
    target, arguments = call_for(claims, backend)
    move_up_stored(claims, first)
    # A residual may be calculated behind the layer.
    place = claims[0].last if claims[0].residual is not None else first
    with module.graph.inserting_before(place):
        made = module.graph.create_node("call_function", target, arguments, name=f"{first.name}_lowered")
    parts = [made] if len(claims) == 1 else split(module, made, claims)
    for claim, part in zip(claims, parts, strict=True):
        finish(claim, part)
    return made


def put_instead(
    module: GraphModule, node: Node, target: Any, arguments: tuple[Any, ...], name: str | None = None
) -> Node:
    """Put one call in the place of `node` and return it; it has no arguments that `train()` would set."""
    with module.graph.inserting_before(node):
        made = module.graph.create_node("call_function", target, arguments, name=name)
    made.meta = {key: value for key, value in node.meta.items() if key != "in_training"}
    node.replace_all_uses_with(made)
    module.graph.erase_node(node)
    return made


def move_up_stored(claims: Sequence[Claim], first: Node) -> None:
    """Let reads of stored tensors stand before the first layer of those that become one."""
    for claim in claims:
        for source in (claim.weight.integers, claim.weight.scales, claim.weight.zeros, claim.bias):
            if source is not None:
                _move_up(source, first)


def _move_up(source: Node, first: Node) -> None:
    """Let `source` and what it reads stand before `first`."""
    if source > first:
        for one in source.all_input_nodes:
            _move_up(one, first)
        first.prepend(source)


def calculate_unrounded(module: GraphModule, claims: Sequence[Claim]) -> None:
    """Let the layers of dynamic `claims` read their activation as it is; several become one product in floats."""
    if len(claims) == 1:
        set_argument(claims[0].layer, "input", claims[0].given)
    else:
        replace(module, [dataclasses.replace(claim, kind="weight-only") for claim in claims], "float")


def finish(claim: Claim, part: Node) -> None:
    """Let all that read the pattern of `claim` read `part`."""
    for node in {part, *part.all_input_nodes}:
        if node.op == "call_function" and "nn_module_stack" not in node.meta:
            node.meta.update(scope_meta(claim.layer))
    part.meta["val"] = claim.last.meta["val"]
    claim.last.meta[_INSTEAD] = part
    claim.last.replace_all_uses_with(part)


def up_to_date(claims: Sequence[Claim]) -> list[Claim]:
    """Return `claims` with what stands now in the place of nodes that others have taken over meanwhile."""
    return [
        dataclasses.replace(claim, given=_instead_of(claim.given), residual=_instead_of(claim.residual))
        for claim in claims
    ]


def _instead_of(node: Any) -> Any:
    while isinstance(node, Node) and _INSTEAD in node.meta:
        node = node.meta[_INSTEAD]
    return node


def split(module: GraphModule, made: Node, claims: Sequence[Claim]) -> list[Node]:
    """Return the part of each claim in what `made` gives, viewed and not copied."""
    sizes = [claim.layer.meta["val"].shape[-1] for claim in claims]
    with module.graph.inserting_after(made):
        pieces = module.graph.call_function(aten.split_with_sizes.default, (made, sizes, -1))
    parts, place = [], pieces
    for index, claim in enumerate(claims):
        with module.graph.inserting_after(place):
            place = module.graph.call_function(operator.getitem, (pieces, index))
        reshape_views(claim.last)
        parts.append(place)
    return parts


def call_for(claims: Sequence[Claim], backend: str) -> tuple[Any, tuple[Any, ...]]:
    """Return the operator for `claims` and its arguments."""
    claim = claims[0]
    layers = (
        [one.weight.integers for one in claims],
        [one.weight.scales for one in claims],
        [one.bias for one in claims],
    )
    if claim.kind == "dynamic":
        return ops.linear_dynamic.default, (claim.given, *layers, backend)
    if claim.kind == "weight-only":
        return ops.linear_weight_only.default, (claim.given, *layers, backend)
    if claim.kind == "embedding":
        return ops.embedding_rows.default, (claim.given, claim.weight.integers, claim.weight.scales)
    if claim.kind == "groups":
        weight = claim.weight
        return ops.linear_groups.default, (
            claim.given, weight.integers, weight.scales, weight.zeros, weight.group, claim.bias, backend,
        )  # fmt: skip
    return _static_call(claim, layers, backend)


def _static_call(claim: Claim, layers: tuple[list[Any], ...], backend: str) -> tuple[Any, tuple[Any, ...]]:
    quantized = tuple(argument(claim.given, name) for name in ("input", "scale", "zero_point"))
    scale, zero = claim.output or (None, 0)
    after = (claim.post, scale, zero, backend)
    if claim.kind == "static":
        return ops.linear_static.default, (*quantized, *layers, *after)
    geometry = [pair(argument(claim.layer, name)) for name in ("stride", "padding", "dilation")]
    operands = (claim.weight.integers, claim.weight.scales, claim.bias)
    behind = (claim.post, *residual_of(claim), claim.late_post, *after[1:])
    return ops.conv_static.default, (*quantized, *operands, *geometry, argument(claim.layer, "groups"), *behind)


def residual_of(claim: Claim) -> tuple[Node | None, float, int]:
    """Return what is added behind a convolution, with scale and zero point where it is bytes."""
    given = claim.residual
    if (
        given is None
        or not is_call(given, quantized_decomposed().dequantize_per_tensor.default)
        or not quantizes_u8(given)
    ):
        return given, 0.0, 0
    source, scale, zero = (argument(given, name) for name in ("input", "scale", "zero_point"))
    return source, float(scale), int(zero)


def pair(numbers: int | Sequence[int]) -> list[int]:
    """Return the two numbers of a height and a width, one of which may stand for both."""
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    return given * 2 if len(given) == 1 else given


def drop_what_is_off(module: GraphModule) -> None:
    """Take out dropout that gives its input as it is; it would stand between a layer and what follows."""
    for node in calls(module.graph, aten.dropout.default, aten.feature_dropout.default):
        if argument(node, "train") is False:
            node.replace_all_uses_with(argument(node, "input"))
            module.graph.erase_node(node)


def faster_quantize(module: GraphModule) -> int:
    """Put `quantize_u8` in the place of `quantize_per_tensor` where that gives the same; return how often."""
    found = [
        node for node in calls(module.graph, quantized_decomposed().quantize_per_tensor.default) if quantizes_u8(node)
    ]
    for node in found:
        scale, zero = float(argument(node, "scale")), int(argument(node, "zero_point"))
        node.target, node.args, node.kwargs = ops.quantize_u8.default, (node.args[0], scale, zero), {}
    return len(found)
