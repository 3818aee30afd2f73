"""Weights behind the nodes that give floats back of them: what is stored, and its scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, argument_names, is_call
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import tensor_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Quantized:
    """A stored weight behind a dequantize node: the `get_attr` nodes of its integers, scales and zero points.

    A weight that stays in floats has no scales.
    """

    integers: Node
    scales: Node | None
    zeros: Node | None = None
    group: int = 0


def weight_of(module: GraphModule, node: Any) -> Quantized | str | None:
    """Return the stored weight that `node` dequantizes, or why no kernel takes it; None where `node` does not."""
    ops = quantized_decomposed()
    if not isinstance(node, Node):
        return None
    if is_call(node, ops.dequantize_per_channel):
        found = Quantized(*(argument(node, name) for name in ("input", "scales", "zero_points")))
        if argument(node, "axis") != 0:
            return "its weight is quantized along another axis than that of its outputs"
        if found.zeros is not None and not _all_zero(module, found.zeros):
            return "its weight has zero points"
    elif hasattr(ops, "dequantize_per_channel_group") and is_call(node, ops.dequantize_per_channel_group):
        names = ("w_int8", "scales", "zero_points", "group_size")
        names = names if "w_int8" in argument_names(node) else ("input", *names[1:])
        found = Quantized(*(argument(node, name) for name in names))
    else:
        return None
    stored = [tensor_of(module, one) for one in (as_stored(found.integers), found.scales)]
    if stored[0] is None or stored[1] is None or stored[0].dtype != torch.int8:
        return "its weight is no stored int8"
    return found


def small_floats_of(module: GraphModule, node: Any) -> Quantized | None:
    """Return the stored 8-bit floats that `node` widens and scales, None where it does something else."""
    if not isinstance(node, Node) or not is_call(node, aten.mul.Tensor):
        return None
    wide, scales = node.args[:2]
    if not isinstance(wide, Node) or not is_call(wide, aten.to.dtype) or tensor_of(module, scales) is None:
        return None
    stored = tensor_of(module, wide.args[0])
    if stored is None or stored.dtype != torch.float8_e4m3fn:
        return None
    return Quantized(wide.args[0], scales)  # type: ignore[arg-type]


def as_stored(node: Any) -> Any:
    """Return the read of what `node` keeps transposed, else `node`."""
    held = isinstance(node, Node) and is_call(node, torch.ops.fxcompress.held_transposed)
    return node.args[0] if held else node


def _all_zero(module: GraphModule, zeros: Node) -> bool:
    stored = tensor_of(module, zeros)
    return stored is not None and not bool(stored.any())
