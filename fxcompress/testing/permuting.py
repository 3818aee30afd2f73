"""Permuting the slots of groups in all tensors that carry them: what the model computes does not change.

A test of couplings that needs nothing of pruning: an axis left out of a group, or one tied to a wrong place of another,
changes the results. Used by tests and by the benchmark over the zoo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find
from fxcompress.graph.tensors import attribute

Order = NDArray[np.int64]


def random_orders(leaves: Iterable[Term], seed: int = 0) -> dict[int, Order]:
    """Return a random order of the slots of each leaf, by the leaf's id."""
    generator = np.random.default_rng(seed)
    return {id(leaf): generator.permutation(leaf.size).astype(np.int64) for leaf in leaves}


def order_of(term: Term, orders: Mapping[int, Order]) -> Order:
    """Return where each position of `term` comes from when the slots of its leaves change places."""
    term = find(term)
    if term.kind == LEAF:
        return orders.get(id(term), np.arange(term.size))
    if term.kind == PRODUCT:
        found = np.zeros(1, np.int64)
        for part in term.parts:
            found = (found[:, None] * part.size + order_of(part, orders)).reshape(-1)
        return found
    starts = np.cumsum([0, *(part.size for part in term.parts)])
    rows = [start + order_of(part, orders) for start, part in zip(starts, term.parts, strict=False)]
    return np.concatenate([np.zeros(0, np.int64), *rows])


def permute(module: GraphModule, axes: Axes, orders: Mapping[int, Order]) -> list[str]:
    """Permute, in place, the slots of leaves in every stored tensor of `module`; return the names of what changed.

    Args:
        axes: what `analyse` gave for `module`.
        orders: a leaf's id to the order of its slots: slot i becomes what slot `order[i]` was.
    """
    changed = []
    for path, value in axes.stored.items():
        tensor = attribute(module, path).detach()
        for axis in value.axes:
            order = order_of(axis.term, orders) if axis.size > 1 else np.arange(axis.size)
            if (order != np.arange(axis.size)).any():
                tensor.copy_(tensor.index_select(axis.dim, torch.from_numpy(order).to(tensor.device)))
                changed.append(path)
    return changed
