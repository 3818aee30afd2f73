"""Merging slots: the weights that read a slot take over what those of its multiple read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Group
from fxcompress.analysis.axes.positions import positions_of
from fxcompress.analysis.axes.terms import Term
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.merging.following import Use, blocks_of, follow
from fxcompress.pruning.merging.parallel import parallel_slots

Pairs = Sequence[tuple[int, int, float]]


@dataclass(frozen=True)
class Merged:
    """What became of one group.

    Attributes:
        pairs: (kept slot, removed slot, scale).
        nearest: the largest cosine between two of its slots, None where none was computed.
        why: why no slots of it can be merged, None where they could.
    """

    pairs: Pairs = ()
    nearest: float | None = None
    why: str | None = None


def merge_group(module: GraphModule, axes: Axes, group: Group, nodes: Iterable[Node], similarity: float) -> Merged:
    """Let every weight that reads slots of `group` read one slot of each cluster, and zeros of the others.

    The slots that go are left in place, with nothing that reads them. Weights are added up in float64.

    Args:
        nodes: the calls that take or give the group's slots, in the order of the graph.
    """
    uses = follow(axes, group.leaf, nodes)
    if isinstance(uses, str):
        return Merged(why=uses)
    scaled, equal, multiplied = blocks_of(uses)
    if not scaled and not equal:
        return Merged(why="no stored weight computes them")
    found = parallel_slots(scaled, equal, similarity)
    for path, use in {use.path: use for use in uses}.items():
        pairs = found.pairs if multiplied[path] else [(i, j, 1.0) for i, j, _ in found.pairs]
        add_up(module, use, group.leaf, pairs)
    return Merged(found.pairs, found.nearest)


def add_up(module: GraphModule, use: Use, leaf: Term, pairs: Pairs) -> None:
    """Add to the columns of each kept slot those of its removed slots times the scale, and set these to zero."""
    if not pairs:
        return
    tensor = attribute(module, use.path)
    places = torch.from_numpy(positions_of(use.axis.term, leaf)).to(tensor.device)
    kept, removed, scales = (torch.tensor(row, device=tensor.device) for row in zip(*pairs, strict=True))
    with torch.no_grad():
        columns = tensor.movedim(use.axis.dim, 0)
        wide = columns.double()
        factors = scales.double().view(-1, *[1] * columns.dim())
        moved = wide[places[removed]] * factors
        wide.index_put_((places[kept],), moved, accumulate=True)
        wide[places[removed]] = 0
        columns.copy_(wide)


def mask_without(group: Group, pairs: Pairs) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a boolean array of the group's slots, true where one stays."""
    mask = np.ones(group.size, bool)
    mask[[removed for _, removed, _ in pairs]] = False
    return mask
