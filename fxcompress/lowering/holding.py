"""Weights of layers that stay as they are: dequantized once, and not at every call."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, calls, is_call, writes
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import tensor_of
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.rewriting import put_instead
from fxcompress.lowering.stored_weights import as_stored, small_floats_of

aten, ops = torch.ops.aten, torch.ops.fxcompress
SMALL_TABLE = 1 << 16


def is_small_table(claim: Claim) -> bool:
    """Whether it is an embedding whose rows are looked up faster in floats, and take little memory so."""
    return claim.kind == "embedding" and claim.weight.integers.meta["val"].numel() <= SMALL_TABLE


def hold_floats(module: GraphModule) -> list[Node]:
    """Let stored integers that are dequantized to float32 be kept as floats; return the layers that read them."""
    decomposed = quantized_decomposed()
    layers: list[Node] = []
    for node in calls(
        module.graph,
        decomposed.dequantize_per_channel.default,
        decomposed.dequantize_per_channel_group.default,
        decomposed.dequantize_per_tensor.default,
        ops.shared_weights.default,
        aten.mul.Tensor,
    ):
        target = _small_floats(module, node) if is_call(node, aten.mul.Tensor) else _held(module, node)
        if target is not None:
            layers += [user for user in node.users if user not in layers]
            put_instead(module, node, *target)
    return layers


def _held(module: GraphModule, node: Node) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the operator that keeps what `node` gives, and its arguments; None where it is not stored."""
    operands = [one for one in node.args if isinstance(one, Node)]
    kept = all(tensor_of(module, as_stored(one)) is not None for one in operands)
    if not kept or node.meta["val"].dtype != torch.float32 or any(writes(user) for user in node.users):
        return None
    if is_call(node, ops.shared_weights):
        return ops.held_shared_weights.default, node.args
    integers = node.args[0]
    names = node.target._schema.name  # type: ignore[union-attr]
    if names.endswith("_group"):
        group = argument(node, "group_size")
        return ops.held_groups.default, (integers, *_scales(node), group)
    if names.endswith("_channel"):
        stored = as_stored(integers)
        turned = () if stored is integers else (True,)
        return ops.held_channels.default, (stored, *_scales(node), argument(node, "axis"), *turned)
    scale, zero = argument(node, "scale"), argument(node, "zero_point")
    return ops.held_tensor.default, (integers, float(scale), int(zero))


def _small_floats(module: GraphModule, node: Node) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the same for a product of scales with stored 8-bit floats that are widened; None for another product."""
    found = small_floats_of(module, node)
    if found is None or node.meta["val"].dtype != torch.float32 or any(writes(user) for user in node.users):
        return None
    return ops.held_product.default, (found.integers, found.scales)


def _scales(node: Node) -> tuple[Any, Any]:
    return argument(node, "scales"), argument(node, "zero_points")
