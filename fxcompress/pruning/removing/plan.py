"""Plans: which positions of which tensors stay, put together over several steps and applied to another checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.groups import Carrier, Group, Kept, Mask, groups_of
from fxcompress.analysis.axes.positions import positions_of_all
from fxcompress.errors import UsageError
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.removing.rewrite import Plan
from fxcompress.text import suggestion


def followed_by(first: Plan, second: Plan) -> Plan:
    """Return the plan that does what `first` and then `second` do; both name positions of what they were given."""
    made = {name: dict(dims) for name, dims in first.items()}
    for name, dims in second.items():
        row = made.setdefault(name, {})
        for dim, kept in dims.items():
            row[dim] = [row[dim][place] for place in kept] if dim in row else list(kept)
    return made


def removed_by(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> Plan:
    """Return the positions that a plan removes from tensors of `shapes`: {name: {dim: positions}}."""
    gone: dict[tuple[int, int], list[int]] = {}  # coupled tensors share their lists

    def removed(kept: list[int], size: int) -> list[int]:
        key = id(kept), size
        if key not in gone:
            gone[key] = np.delete(np.arange(size), kept).tolist()
        return gone[key]

    return {name: {dim: removed(kept, shapes[name][dim]) for dim, kept in dims.items()} for name, dims in plan.items()}


def kept_by(module: GraphModule, axes: Axes, plan: Plan) -> Kept:
    """Return what a plan keeps of the axes of `module`, whichever of the coupled tensors the plan names.

    Raises:
        UsageError: a name or size that `module` does not have, or positions that cannot go without others.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(module)}
    for name, dims in plan.items():
        _check(name, dims, shapes)
    masks: dict[int, Mask] = {}
    for group in groups_of(axes):
        for carrier in group.carriers if group.free else ():
            if carrier.path in plan and carrier.dim in plan[carrier.path]:
                mask = _slots(group, carrier, plan[carrier.path][carrier.dim])
                for leaf, part in group.in_leaves(mask).items():
                    if not part.all():
                        masks[leaf] = masks.get(leaf, part) & part
    kept = Kept(masks)
    _check_positions(axes, plan, kept)
    return kept


def _check(name: str, dims: Mapping[int, list[int]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if name not in shapes:
        raise UsageError(f"the plan names {name!r}, which the model does not have", hint=suggestion(name, shapes))
    for dim, kept in dims.items():
        if not 0 <= dim < len(shapes[name]) or not kept or not 0 <= min(kept) <= max(kept) < shapes[name][dim]:
            raise UsageError(
                f"the plan does not fit {name}, whose shape is {list(shapes[name])}: it keeps {len(kept)} positions "
                f"of dim {dim}{f', up to {max(kept)}' if kept else ''}",
                hint="apply it to the model that was pruned, before anything else has changed its sizes",
            )


def _slots(group: Group, carrier: Carrier, kept: list[int]) -> Mask:
    """Return which slots of a group have any position left in a carrier."""
    stays = np.zeros(carrier.axis.size, bool)
    stays[kept] = True
    return np.asarray(stays[positions_of_all(carrier.axis.term, group.leaves)].any(1), bool)


def _check_positions(axes: Axes, plan: Plan, kept: Kept) -> None:
    """Raise where what goes with the plan's slots is not what the plan says."""
    for path, dims in plan.items():
        for dim, positions in dims.items():
            value = axes.stored.get(path)
            mask = None if value is None else kept.positions(value.axes[dim].term)
            if value is not None and (mask is None or mask.nonzero()[0].tolist() != sorted(positions)):
                raise UsageError(
                    f"the plan keeps positions of {path}, dim {dim}, that cannot stay without others",
                    hint="plans come from result.plan; a position goes with all that it is coupled to",
                )
