"""The plan in an artifact: which positions of the captured model's tensors stay.

    {"kept": [[0, 1, 5], ...], "tensors": {"layer.weight": {"0": 0, "1": 3}, "grouped.weight": {"0": 2, "1": [3, 4]}}}

Coupled tensors keep the same positions, so each list of them stands there once, and a tensor names it by its place.
Where each group of a convolution keeps positions of its own, there is a place for every run of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fxcompress.errors import ArtifactError
from fxcompress.targets.json_text import checked, record, short
from fxcompress.targets.names import label
from fxcompress.targets.payloads import MAX_DIMENSIONS

if TYPE_CHECKING:
    from fxcompress.pruning.removing.places import Dims, Places, Plan

MAX_SIZE = 2**31
_DIMS = {str(dim): dim for dim in range(MAX_DIMENSIONS)}


def encode_plan(plan: Plan) -> dict[str, Any]:
    """Return `plan` as JSON.

    Raises:
        ArtifactError: it is not {name: {dim: positions that stay}}.
    """
    known: dict[tuple[int, ...], int] = {}

    def number(kept: list[int]) -> int:
        return known.setdefault(tuple(kept), len(known))

    def numbers(kept: Places) -> int | list[int]:
        return number(kept) if isinstance(kept, list) else [number(row) for row in kept]

    tensors = {name: {str(dim): numbers(kept) for dim, kept in dims.items()} for name, dims in plan.items()}
    made = {"kept": [list(kept) for kept in known], "tensors": tensors}
    decode_plan(made)
    return made


def decode_plan(value: Any) -> Plan:
    """Return the plan that `value` describes; tensors that keep the same positions share the list of them.

    Raises:
        ArtifactError: a name, a dimension or positions that no plan has.
    """
    fields = record(value, "the plan", {"kept": list, "tensors": dict})
    kept = [_positions(item) for item in fields["kept"]]
    plan = {label(name, "a name of the plan"): _dims(name, dims, kept) for name, dims in fields["tensors"].items()}
    every = [places for dims in plan.values() for places in dims.values()]
    if len({id(row) for places in every for row in (places if isinstance(places, tuple) else [places])}) != len(kept):
        raise ArtifactError("the plan holds positions of no tensor")
    return plan


def _positions(value: Any) -> list[int]:
    positions: list[int] = checked(value, list, "positions of the plan")
    if not positions:
        raise ArtifactError("the plan keeps nothing of a tensor")
    for position in positions:
        if type(position) is not int or not 0 <= position < MAX_SIZE:
            raise ArtifactError(f"the plan has {short(position)} where a position should be")
    if any(one >= other for one, other in pairwise(positions)):
        raise ArtifactError("positions of the plan do not ascend")
    return positions


def _dims(name: str, value: Any, kept: list[list[int]]) -> Dims:
    given: Mapping[str, Any] = checked(value, dict, f"what the plan says of {short(name)}")
    if not given or not name:
        raise ArtifactError(f"the plan names {short(name)} and keeps no positions of it")
    made: Dims = {}
    for dim, place in given.items():
        rows = [_listed(one, kept) for one in place] if type(place) is list else [_listed(place, kept)]
        if dim not in _DIMS or any(row is None for row in rows):
            raise ArtifactError(f"the plan of {short(name)} has {short(dim)}: {short(place)}")
        some = [row for row in rows if row is not None]
        made[_DIMS[dim]] = tuple(some) if type(place) is list else some[0]
    _check_runs(name, made)
    return made


def _listed(place: Any, kept: list[list[int]]) -> list[int] | None:
    return kept[place] if type(place) is int and 0 <= place < len(kept) else None


def _check_runs(name: str, dims: Dims) -> None:
    """Raise where positions that are said run by run are not of equal runs of what stays of dim 0."""
    rows = dims.get(0)
    for places in dims.values():
        if isinstance(places, tuple):
            runs, counts = len(places), {len(row) for row in places}
            if not isinstance(rows, list) or runs < 2 or len(counts) != 1 or len(rows) % runs:
                raise ArtifactError(f"the plan of {short(name)} has {runs} lists for the rows of its first dim")
