"""Sizes of what nodes give, as plain numbers: a symbolic size is taken at its hint, the size of the example."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from fxcompress.errors import FxcompressError


class DataDependentSizeError(FxcompressError):
    """A size that only the data decides (such as that of `nonzero`), so that nothing can be said before the run."""


def value_of(node: Node) -> Any:
    """Return `meta["val"]` of `node`: what it gives, without data.

    Raises:
        FxcompressError: the node has no type.
    """
    if "val" not in node.meta:
        raise FxcompressError(f"node %{node} has no type", hint="call fxcompress.graph.shapes.propagate(module) first")
    return node.meta["val"]


def shape_of(node: Node) -> tuple[int, ...]:
    """Return the shape of the tensor that `node` gives.

    Raises:
        DataDependentSizeError: a size depends on the data.
    """
    return tuple(concrete(size) for size in value_of(node).shape)


def elements_of(node: Node) -> int:
    """Return the number of elements of the tensor that `node` gives."""
    return math.prod(shape_of(node))


def concrete(size: int | torch.SymInt) -> int:
    """Return `size`, or its hint where it is symbolic."""
    if isinstance(size, int):
        return size
    hint = size.node.hint
    if hint is None:
        raise DataDependentSizeError(f"the size {size} depends on the data")
    return int(hint)
