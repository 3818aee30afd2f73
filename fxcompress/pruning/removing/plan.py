"""Plans put together over several steps, and what they remove."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fxcompress.pruning.removing.places import Dims, Places, Plan, Removed, together


def followed_by(first: Plan, second: Plan) -> Plan:
    """Return the plan that does what `first` and then `second` do; both name positions of what they were given."""
    made = {name: dict(dims) for name, dims in first.items()}
    for name, dims in second.items():
        made[name] = _after(made.get(name, {}), dims)
    return made


def _after(first: Dims, second: Dims) -> Dims:
    made = {dim: _of_runs_left(places, first, second) for dim, places in first.items()}
    for dim, places in second.items():
        made[dim] = _composed(made[dim], places) if dim in made else _copied(places)
    return made


def _of_runs_left(places: Places, first: Dims, second: Dims) -> Places:
    """Return the positions of `first` for those of its groups of which `second` leaves rows."""
    rows = second.get(0)
    if not isinstance(places, tuple) or not isinstance(rows, list):
        return places
    length = len(first[0]) // len(places)
    return tuple(places[run] for run in dict.fromkeys(row // length for row in rows))


def _composed(first: Places, second: Places) -> Places:
    """Return which positions are left after `first` and then `second`, one of which may be said group by group."""
    if isinstance(first, list) and isinstance(second, list):
        return [first[place] for place in second]
    runs = len(first) if isinstance(first, tuple) else len(second)
    ones, others = (one if isinstance(one, tuple) else (one,) * runs for one in (first, second))
    return together(tuple([row[place] for place in left] for row, left in zip(ones, others, strict=True)))


def _copied(places: Places) -> Places:
    return list(places) if isinstance(places, list) else tuple(map(list, places))


def removed_by(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> Removed:
    """Return the positions that a plan removes from tensors of `shapes`: {name: {dim: positions}}.

    What a plan says group by group is left out: the channels that a group of a convolution no longer reads are removed
    from all that computes them.
    """
    gone: dict[tuple[int, int], list[int]] = {}  # coupled tensors share their lists

    def removed(kept: list[int], size: int) -> list[int]:
        key = id(kept), size
        if key not in gone:
            gone[key] = np.delete(np.arange(size), kept).tolist()
        return gone[key]

    made = {
        name: {dim: removed(kept, shapes[name][dim]) for dim, kept in dims.items() if isinstance(kept, list)}
        for name, dims in plan.items()
    }
    some = {name: {dim: places for dim, places in dims.items() if places} for name, dims in made.items()}
    return {name: dims for name, dims in some.items() if dims}
