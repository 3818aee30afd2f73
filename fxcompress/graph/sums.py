"""Sums of two tensors of one shape: residual connections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from fxcompress.graph.nodes import argument, is_call

SUMMANDS = ("self", "other")
FLOAT32 = (torch.float32,)


def is_sum(node: Node, floats: Sequence[torch.dtype] = FLOAT32) -> bool:
    """Whether `node` adds two tensors of one shape and of one dtype, which is among `floats`."""
    if not is_call(node, torch.ops.aten.add.Tensor) or argument(node, "alpha") != 1:
        return False
    summands = [argument(node, name) for name in SUMMANDS]
    values = [one.meta["val"] for one in summands if isinstance(one, Node)]
    found = [one for one in values if isinstance(one, torch.Tensor) and one.dtype in floats]
    return len(found) == 2 and found[0].shape == found[1].shape and found[0].dtype == found[1].dtype


def other_summand(node: Node, one: Node, floats: Sequence[torch.dtype] = FLOAT32) -> Node | None:
    """Return what `node` adds to `one`, where it is a sum and that is another value."""
    if not is_sum(node, floats):
        return None
    others = [argument(node, name) for name in SUMMANDS if argument(node, name) is not one]
    return others[0] if len(others) == 1 else None
