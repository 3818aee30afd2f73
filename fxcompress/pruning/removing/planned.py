"""What a plan keeps of the axes of a module, whichever of the coupled tensors it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.apart import Outer, outers, positions_apart, runs, whole_axes
from fxcompress.analysis.axes.groups import Carrier, Group, Kept, Mask, groups_of
from fxcompress.analysis.axes.positions import positions_of_all
from fxcompress.errors import UsageError
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.removing.places import Dims, Places, Plan, Staying
from fxcompress.text import suggestion


def kept_by(module: GraphModule, axes: Axes, plan: Plan) -> Kept:
    """Return what a plan keeps of the axes of `module`, whichever of the coupled tensors the plan names.

    Raises:
        UsageError: a name or size that `module` does not have, or positions that cannot go without others.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(module)}
    for name, dims in plan.items():
        _check(name, dims, shapes)
    kept = _Planned(axes, plan).kept()
    _check_positions(axes, plan, kept)
    return kept


class _Planned:
    """One plan beside the axes of one module."""

    def __init__(self, axes: Axes, plan: Plan) -> None:
        self.axes, self.plan = axes, plan
        self.outers, self.wholes = outers(axes), whole_axes(axes)

    def kept(self) -> Kept:
        masks: dict[int, Mask] = {}
        outer: dict[int, Outer] = {}
        for group in groups_of(self.axes):
            for leaf, mask in self._masks(group).items() if group.free else ():
                if not mask.all():
                    masks[leaf] = mask
                    if mask.ndim == 2:
                        outer[leaf] = self.outers[leaf]
        return Kept(masks, outer)

    def _masks(self, group: Group) -> dict[int, Mask]:
        """Return which slots of each leaf stay, of the places of what stands before it where these differ."""
        before = self.outers.get(id(group.leaf), ())
        found: list[Mask] = []
        for carrier in group.carriers:
            places = self.plan.get(carrier.path, {}).get(carrier.dim)
            if places is not None:
                found += self._said(group, before, carrier, places)
        if not found:
            return {}
        mask = np.logical_and.reduce(found)
        if mask.ndim == 1:
            return group.in_leaves(mask)
        rows = mask[mask.any(1)]
        if (rows == rows[:1]).all():
            return group.in_leaves(rows[0] if len(rows) else mask[0])
        if len(set(rows.sum(1).tolist())) > 1:
            raise UsageError(
                f"the plan keeps more channels of some groups than of others: {group.name}",
                hint="plans come from result.plan; every group keeps as many",
            )
        # Of a group that is gone itself it does not matter which slots stay.
        return {id(group.leaf): np.where(mask.any(1, keepdims=True), mask, rows[0])}

    def _said(self, group: Group, before: Outer, carrier: Carrier, places: Places) -> Sequence[Mask]:
        """Return which slots have any position left in a carrier, [places of what stands before, slots] or [slots]."""
        axis = self.wholes.get(id(carrier.axis), carrier.axis)
        if not before:
            return [_any_left(carrier.axis.size, places, positions_of_all(carrier.axis.term, group.leaves))]
        if axis is carrier.axis:
            positions = positions_apart(axis.term, group.leaf, before)
            return [_any_left(axis.size, places, positions).reshape(runs(before), -1)]
        count = axis.size // carrier.axis.size
        rows = places if isinstance(places, tuple) else (places,) * count
        if len(rows) != count:
            return []  # groups are gone, and other carriers say which
        every = [run * carrier.axis.size + place for run, row in enumerate(rows) for place in row]
        positions = positions_apart(axis.term, group.leaf, before)
        return [_any_left(axis.size, every, positions).reshape(runs(before), -1)]


def _any_left(size: int, places: Places, positions: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Mask:
    stays = np.zeros(size, bool)
    stays[places if isinstance(places, list) else sorted(set().union(*places))] = True
    return np.asarray(stays[positions].any(1), bool)


def _check(name: str, dims: Dims, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if name not in shapes:
        raise UsageError(f"the plan names {name!r}, which the model does not have", hint=suggestion(name, shapes))
    for dim, places in dims.items():
        for kept in [places] if isinstance(places, list) else places:
            if not 0 <= dim < len(shapes[name]) or not kept or not 0 <= min(kept) <= max(kept) < shapes[name][dim]:
                raise UsageError(
                    f"the plan does not fit {name}, whose shape is {list(shapes[name])}: it keeps {len(kept)} "
                    f"positions of dim {dim}{f', up to {max(kept)}' if kept else ''}",
                    hint="apply it to the model that was pruned, before anything else has changed its sizes",
                )


def _check_positions(axes: Axes, plan: Plan, kept: Kept) -> None:
    """Raise where what goes with the plan's slots is not what the plan says."""
    left = Staying(axes, kept)
    for path, dims in plan.items():
        value = axes.stored.get(path)
        if value is None:
            continue
        made = left.dims(value)
        for dim, places in dims.items():
            said = sorted(places) if isinstance(places, list) else places
            if made.get(dim, list(range(value.axes[dim].size))) != said:
                raise UsageError(
                    f"the plan keeps positions of {path}, dim {dim}, that cannot stay without others",
                    hint="plans come from result.plan; a position goes with all that it is coupled to",
                )
