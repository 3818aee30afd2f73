"""Sums of two tensors of one shape: residual connections."""

from __future__ import annotations

import torch
from torch.fx import Node

from fxcompress.graph.nodes import argument, is_call

SUMMANDS = ("self", "other")


def is_sum(node: Node) -> bool:
    """Whether `node` adds two float32 tensors of one shape."""
    if not is_call(node, torch.ops.aten.add.Tensor) or argument(node, "alpha") != 1:
        return False
    summands = [argument(node, name) for name in SUMMANDS]
    values = [one.meta["val"] for one in summands if isinstance(one, Node)]
    floats = [one for one in values if isinstance(one, torch.Tensor) and one.dtype == torch.float32]
    return len(floats) == 2 and floats[0].shape == floats[1].shape


def other_summand(node: Node, one: Node) -> Node | None:
    """Return what `node` adds to `one`, where it is a sum and that is another value."""
    others = [argument(node, name) for name in SUMMANDS if argument(node, name) is not one] if is_sum(node) else []
    return others[0] if len(others) == 1 else None
