"""Attention in floats as a call of a kernel, where that is faster than torch's for its shape."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import argument, calls
from fxcompress.kernels.attention import torchs
from fxcompress.lowering.choosing import MARGIN, interleaved
from fxcompress.lowering.rewriting import put_instead

aten, ops = torch.ops.aten, torch.ops.fxcompress
# Of a larger batch this much is timed: the time grows in proportion.
LARGEST_BATCH = 4


@dataclass(frozen=True)
class Shape:
    """Attention to be chosen for."""

    batch: int
    heads: int
    shared: int
    rows: int
    columns: int
    features: int
    causal: bool
    masked: bool


def lower_attention(module: GraphModule, chosen: set[Node], measure: bool) -> dict[str, dict[str, Any]]:
    """Replace attention among `chosen` nodes by calls of our kernel; return what to tell of each call."""
    found: dict[str, dict[str, Any]] = {}
    for node in calls(module.graph, aten.scaled_dot_product_attention.default):
        shape = shape_of(node) if node in chosen else None
        if shape is None:
            continue
        took = _measure(shape, torch.get_num_threads()) if measure else {}
        if took and took["native"] * MARGIN > took["pattern"]:
            continue
        made = _replace(module, node)
        found[made.name] = {"kind": "attention", "layers": [node.name], "backend": "native", "microseconds": took}
    return found


def shape_of(node: Node) -> Shape | None:
    """Return the shape of attention that the kernel calculates, None for other attention."""
    query, key, value, mask = (argument(node, name) for name in ("query", "key", "value", "attn_mask"))
    given = [one.meta["val"] for one in (query, key, value)]
    if any(one.dtype != torch.float32 or one.dim() != 4 or one.device.type != "cpu" for one in given):
        return None
    if mask is not None and mask.meta["val"].dtype not in (torch.bool, torch.float32):
        return None
    if argument(node, "dropout_p") or given[0].shape[3] != given[2].shape[3]:
        return None
    batch, heads, rows, features = map(concrete, given[0].shape)
    causal = bool(argument(node, "is_causal"))
    return Shape(
        batch, heads, concrete(given[1].shape[1]), rows, concrete(given[1].shape[2]), features, causal, mask is not None
    )


def _replace(module: GraphModule, node: Node) -> Node:
    query, key, value, mask = (argument(node, name) for name in ("query", "key", "value", "attn_mask"))
    scale = argument(node, "scale")
    if scale is None:
        scale = 1 / math.sqrt(int(query.meta["val"].shape[3]))
    arguments = (query, key, value, mask, bool(argument(node, "is_causal")), float(scale), "native")
    return put_instead(module, node, ops.attention.default, arguments, f"{node.name}_lowered")


@functools.cache
def _measure(shape: Shape, threads: int) -> dict[str, float]:
    """Return the microseconds that our kernel and torch's take, with the strides that a product before them leaves."""
    batch = min(shape.batch, LARGEST_BATCH)
    generator = torch.Generator().manual_seed(0)

    def heads(count: int, rows: int) -> torch.Tensor:
        return torch.randn(batch, rows, count, shape.features, generator=generator).transpose(1, 2)

    query, key, value = heads(shape.heads, shape.rows), *(heads(shape.shared, shape.columns) for _ in range(2))
    mask = torch.zeros(batch, 1, shape.rows, shape.columns) if shape.masked else None
    operands = (query, key, value, mask, shape.causal, 1.0)
    with torch.no_grad():
        return interleaved(
            {
                "native": lambda: ops.attention(*operands, "native"),
                "pattern": lambda: torchs(*operands).transpose(1, 2).contiguous(),
            }
        )
