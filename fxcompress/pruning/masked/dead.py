"""Slots whose removal changes nothing, because of the zeros that the stored tensors have there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Group
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.choosing.budget import Ranked
from fxcompress.pruning.choosing.evidence import gathered, places_of

Flags = NDArray[np.bool_]


def dead_slots(module: GraphModule, axes: Axes, groups: Iterable[Group]) -> dict[str, Flags]:
    """Return for every group that has some, by its name, bool [slots]: those that no result depends on.

    A slot is dead where every call that adds up over it adds nothing: `zeros.inexact` follows it through the graph with
    the carriers that are zero there, and takes the others for any finite numbers.
    """
    found = {}
    for group in groups:
        if group.free:
            dead = _dead(axes, group, zero_flags(module, group))
            if dead.any():
                found[group.name] = dead
    return found


def dead_ranked(
    module: GraphModule, axes: Axes, groups: Iterable[Group], least: int
) -> tuple[list[Ranked], Mapping[str, int]]:
    """Return the groups that have dead slots, ranked last, and how many of each stay: `least` at least."""
    some = list(groups)
    found = dead_slots(module, axes, some)
    ranked = [
        Ranked(one, 1.0 - found[one.name].astype(np.float64)[None], None, "", one.size)
        for one in some
        if one.name in found
    ]
    return ranked, {one.group.name: max(least, int(one.scores.sum())) for one in ranked}


def zero_flags(module: GraphModule, group: Group) -> Flags:
    """Return bool [carriers, slots]: whether all that a carrier holds of a slot is zero."""
    rows = []
    for carrier in group.carriers:
        tensor = attribute(module, carrier.path).detach()
        slices = gathered(tensor, carrier.dim, places_of(carrier.axis, group).to(tensor.device))
        rows.append((slices == 0).all(1).cpu().numpy())
    return np.stack(rows)


def _dead(axes: Axes, group: Group, zero: Flags) -> Flags:
    dead = np.zeros(zero.shape[1], bool)
    for signature in np.unique(zero, axis=1).T:
        if signature.any():
            nonzero = {
                id(carrier.axis) for carrier, is_zero in zip(group.carriers, signature, strict=True) if not is_zero
            }
            blamed = inexact(axes, nonzero)
            if not any(id(leaf) in blamed for leaf in group.leaves):
                dead |= (zero == signature[:, None]).all(0)
    return dead
