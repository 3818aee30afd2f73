"""The plan in an artifact: which positions of the captured model's tensors stay.

    {"kept": [[0, 1, 5], ...], "tensors": {"layer.weight": {"0": 0, "1": 3}, ...}}

Coupled tensors keep the same positions, so each list of them stands there once, and a tensor names it by its place.
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
    from fxcompress.pruning.removing.rewrite import Plan

MAX_SIZE = 2**31
_DIMS = {str(dim): dim for dim in range(MAX_DIMENSIONS)}


def encode_plan(plan: Plan) -> dict[str, Any]:
    """Return `plan` as JSON.

    Raises:
        ArtifactError: it is not {name: {dim: positions that stay}}.
    """
    places: dict[tuple[int, ...], int] = {}
    tensors = {
        name: {str(dim): places.setdefault(tuple(kept), len(places)) for dim, kept in dims.items()}
        for name, dims in plan.items()
    }
    made = {"kept": [list(kept) for kept in places], "tensors": tensors}
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
    if len({id(positions) for dims in plan.values() for positions in dims.values()}) != len(kept):
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


def _dims(name: str, value: Any, kept: list[list[int]]) -> dict[int, list[int]]:
    given: Mapping[str, Any] = checked(value, dict, f"what the plan says of {short(name)}")
    if not given or not name:
        raise ArtifactError(f"the plan names {short(name)} and keeps no positions of it")
    made = {}
    for dim, place in given.items():
        if dim not in _DIMS or type(place) is not int or not 0 <= place < len(kept):
            raise ArtifactError(f"the plan of {short(name)} has {short(dim)}: {short(place)}")
        made[_DIMS[dim]] = kept[place]
    return made
