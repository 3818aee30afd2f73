"""What an importance judges the slots of a group by: the weights that carry them, and what was observed of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Carrier, Group
from fxcompress.analysis.axes.op import CONTRACT
from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find
from fxcompress.graph.tensors import attribute

PRODUCER, CONSUMER, AFFINE = "producer", "consumer", "affine"


@dataclass(frozen=True)
class Slices:
    """What one carrier holds of a group.

    Attributes:
        path: the name of the stored tensor.
        dim: its axis that carries the group.
        kind: "producer" (rows that compute the slots), "consumer" (columns that contract them), "affine" (a bias, or
            a norm's scale).
        weight: floating [slots, elements]: the elements of the tensor that go with each slot.
    """

    path: str
    dim: int
    kind: str
    weight: torch.Tensor


def positions_of(term: Term, leaf: Term) -> NDArray[np.int64]:
    """Return [slots, times]: the positions of `term` in which each slot of `leaf` stands."""
    rows = [row for row in _places(find(term), leaf, 0, 1)]
    return np.concatenate(rows, axis=1)


def _places(term: Term, leaf: Term, start: int, stride: int) -> Iterator[NDArray[np.int64]]:
    """Yield [slots, times] arrays of positions, `stride` apart, from `start`."""
    if term.kind == LEAF:
        if term is leaf:
            yield start + stride * np.arange(leaf.size).reshape(-1, 1)
        return
    parts = [find(part) for part in term.parts]
    if term.kind == PRODUCT:
        inner = [int(np.prod([one.size for one in parts[place + 1 :]], dtype=np.int64)) for place in range(len(parts))]
        for place, part in enumerate(parts):
            others = _grid([(one.size, inner[i]) for i, one in enumerate(parts) if i != place])
            for found in _places(part, leaf, 0, inner[place]):
                yield start + stride * (found[:, :, None] + others[None, None, :]).reshape(leaf.size, -1)
    else:
        for part in parts:
            yield from _places(part, leaf, start, stride)
            start += stride * part.size


def _grid(steps: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return every sum of multiples: for each (count, step) one of 0, step, ... (count - 1) * step."""
    found = np.zeros(1, np.int64)
    for count, step in steps:
        found = (found[:, None] + step * np.arange(count)).reshape(-1)
    return found


def slices_of(module: GraphModule, axes: Axes, group: Group) -> list[Slices]:
    """Return what every floating carrier of `group` holds of its slots, in the order of the graph."""
    contracted = contracted_axes(axes)
    found = []
    for carrier in group.carriers:
        tensor = attribute(module, carrier.path).detach()
        if tensor.is_floating_point():
            found.append(Slices(carrier.path, carrier.dim, _kind(carrier, contracted), gathered(tensor, carrier, group)))
    return found


def gathered(tensor: torch.Tensor, carrier: Carrier, group: Group) -> torch.Tensor:
    """Return [slots, elements] of a tensor like the carrier's."""
    places = torch.from_numpy(positions_of(carrier.axis.term, group.leaf)).to(tensor.device)
    rows = tensor.movedim(carrier.dim, 0).reshape(tensor.shape[carrier.dim], -1)
    return rows[places].reshape(group.size, -1)


def contracted_axes(axes: Axes) -> set[int]:
    """Return the ids of the axes that some call contracts."""
    return {id(axis) for roles in axes.roles.values() for role in roles if role.kind == CONTRACT for axis in role.axes}


def _kind(carrier: Carrier, contracted: set[int]) -> str:
    if id(carrier.axis) in contracted:
        return CONSUMER
    wide = [axis for axis in carrier.axis.value.axes if axis.size > 1]
    return PRODUCER if len(wide) > 1 else AFFINE
