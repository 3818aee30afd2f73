"""Plans: which positions of which tensors stay.

    {"layer.weight": {0: [0, 1, 5], 1: ([2, 3], [0, 3])}, ...}

A list says it of a whole axis. A tuple of lists says it of an axis of a grouped convolution's weight, of which every
group keeps positions of its own: what stays of dim 0 is so many equal runs of rows, and each list is for one of them.
Such a tensor has its dim 0 in the plan too, even where all rows stay.
"""

from __future__ import annotations

import torch

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.apart import whole_axes
from fxcompress.analysis.axes.axis import Axis, Value
from fxcompress.analysis.axes.groups import Kept, Mask

Places = list[int] | tuple[list[int], ...]
Dims = dict[int, Places]
Plan = dict[str, Dims]
Removed = dict[str, dict[int, list[int]]]


class Indices:
    """Positions as tensors, each list once: coupled tensors share theirs."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, torch.device], torch.Tensor] = {}

    def of(self, places: list[int], device: torch.device) -> torch.Tensor:
        key = id(places), device
        if key not in self._known:
            self._known[key] = torch.tensor(places, device=device)
        return self._known[key]


def taken(tensor: torch.Tensor, dims: Dims, indices: Indices | None = None) -> torch.Tensor:
    """Return the positions of `tensor` that stay.

    Args:
        indices: remembers the lists of one plan.
    """
    indices = Indices() if indices is None else indices
    left = tensor
    for dim, places in dims.items():
        if isinstance(places, list):
            left = left.index_select(dim, indices.of(places, left.device))
    for dim, places in dims.items():
        if isinstance(places, tuple):
            runs = zip(left.tensor_split(len(places)), places, strict=True)
            left = torch.cat([run.index_select(dim, indices.of(row, left.device)) for run, row in runs])
    return left


def count(places: Places) -> int:
    """Return how many positions stay."""
    return len(places) if isinstance(places, list) else len(places[0])


class Staying:
    """What stays of stored tensors, as plans say it; coupled axes share their lists."""

    def __init__(self, axes: Axes, kept: Kept) -> None:
        self.kept = kept
        self._wholes = whole_axes(axes)
        self._lists: dict[int, list[int]] = {}

    def dims(self, value: Value) -> Dims:
        """Return what stays of the axes of a tensor that lose positions."""
        found = {axis.dim: self._places(axis) for axis in value.axes if axis.size > 1}
        made = {dim: places for dim, places in found.items() if places is not None}
        if any(isinstance(places, tuple) for places in made.values()):
            made = {0: list(range(value.axes[0].size)), **made}
        return made

    def _places(self, axis: Axis) -> Places | None:
        if id(axis) in self._wholes and self.kept.apart_in(axis.term):
            return self._by_group(axis, self._wholes[id(axis)])
        mask = self.kept.positions(axis.term)
        return None if mask is None or mask.all() else self._list(mask)

    def _by_group(self, axis: Axis, whole: Axis) -> Places | None:
        """Return what each group that stays keeps of `axis`, of which `whole` has one for every group."""
        mask = self.kept.positions(whole.term)
        assert mask is not None
        rows = mask.reshape(-1, axis.size)
        rows = rows[rows.any(1)]
        if rows.all():
            return None
        return together(tuple(row.nonzero()[0].tolist() for row in rows))

    def _list(self, mask: Mask) -> list[int]:
        if id(mask) not in self._lists:
            self._lists[id(mask)] = mask.nonzero()[0].tolist()
        return self._lists[id(mask)]


def together(rows: tuple[list[int], ...]) -> Places:
    """Return the lists of several groups, as one where they are all the same."""
    return rows[0] if all(row == rows[0] for row in rows) else rows
