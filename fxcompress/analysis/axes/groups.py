"""Groups: the atoms that parameters carry, and what is left of every axis when slots of them are removed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.apart import Outer, run_and_slot
from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find, leaves

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Carrier:
    """One axis of a stored tensor that carries the slots of a group."""

    path: str
    axis: Axis

    @property
    def dim(self) -> int:
        return self.axis.dim

    def __str__(self) -> str:
        return f"{self.path}:{self.axis.dim}"


@dataclass(frozen=True)
class Group:
    """Slots that stand in the same axes: one removed is removed from every carrier.

    Attributes:
        name: the first carrier, `layer1.0.conv1.weight:0`, with the atom's place in it where it has several.
        leaves: the atom; or many of one slot each, where a constant index has taken an atom apart.
        carriers: the axes of stored tensors that carry it, in the order of the graph.
    """

    name: str
    leaves: tuple[Term, ...]
    carriers: tuple[Carrier, ...]

    @property
    def leaf(self) -> Term:
        """The atom, the first where there are several."""
        return self.leaves[0]

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in self.leaves)

    @property
    def free(self) -> bool:
        """Whether slots may be removed."""
        return self.leaf.pin is None and self.size > 1

    def in_leaves(self, mask: Mask) -> dict[int, Mask]:
        """Return a mask over the slots as masks over those of each leaf, by its id."""
        ends = np.cumsum([leaf.size for leaf in self.leaves])[:-1]
        return {id(leaf): part for leaf, part in zip(self.leaves, np.split(mask, ends), strict=True)}


def groups_of(axes: Axes) -> list[Group]:
    """Return the atoms that stored tensors carry, in the order of the graph, pinned ones among them."""
    found: dict[int, tuple[Term, list[Carrier]]] = {}
    for path, value in axes.stored.items():
        for axis in value.axes:
            if axis.size > 1:
                for one in leaves(axis.term):
                    found.setdefault(id(one), (one, []))[1].append(Carrier(path, axis))
    together: dict[Any, tuple[list[Term], list[Carrier]]] = {}
    for leaf, carriers in found.values():
        key = tuple(map(str, carriers)) if leaf.size == 1 and leaf.pin is None else id(leaf)
        together.setdefault(key, ([], carriers))[0].append(leaf)
    return [Group(_name(row[0], carriers[0]), tuple(row), tuple(carriers)) for row, carriers in together.values()]


def _name(leaf: Term, first: Carrier) -> str:
    atoms = leaves(first.axis.term)
    return str(first) if len(atoms) == 1 else f"{first}.{next(i for i, one in enumerate(atoms) if one is leaf)}"


class Left:
    """How many positions are left of terms whose leaves lose slots.

    Args:
        counts: a leaf's id to the number of its slots that stay; other leaves keep all.
    """

    def __init__(self, counts: Mapping[int, int]) -> None:
        self.counts = counts
        self._sizes: dict[int, int] = {}

    def size(self, term: Term) -> int:
        """Return how many positions of `term` are left; a dynamic size as in `sizes.py`."""
        term = find(term)
        if id(term) not in self._sizes:
            self._sizes[id(term)] = self._size(term)
        return self._sizes[id(term)]

    def _size(self, term: Term) -> int:
        if term.kind == LEAF:
            return self.counts.get(id(term), term.size)
        parts = [self.size(part) for part in term.parts]
        return prod(parts) if term.kind == PRODUCT else sum(parts)


class Kept(Left):
    """Which positions are left.

    Args:
        masks: a leaf's id to a boolean array of its size, true where a slot stays; other leaves keep all. Of a leaf in
            `outer`, [places of what stands before it, slots], with as many slots in each row.
        outer: a leaf's id to what stands before it, of which each place keeps slots of its own; see `apart.py`.
    """

    def __init__(self, masks: Mapping[int, Mask], outer: Mapping[int, Outer] | None = None) -> None:
        super().__init__({leaf: int(mask.reshape(-1, mask.shape[-1])[0].sum()) for leaf, mask in masks.items()})
        self.masks = masks
        self.outer = outer or {}
        self._together: dict[int, Mask | None] = {}
        self._positions: dict[int, Mask | None] = {}

    def positions(self, term: Term) -> Mask | None:
        """Return a boolean array over the positions of `term`, true where one stays; None where all do.

        Of leaves in `outer` the term has what stands before them too.
        """
        term = find(term)
        if id(term) not in self._positions:
            rows = [self._alike(term), *(self._apart(term, leaf) for leaf in self.apart_in(term))]
            some = [row for row in rows if row is not None]
            self._positions[id(term)] = functools.reduce(np.logical_and, some) if some else None
        return self._positions[id(term)]

    def apart_in(self, term: Term) -> list[Term]:
        """Return the leaves of `term` of which each place of what stands before them keeps slots of its own."""
        return [leaf for leaf in leaves(term) if id(leaf) in self.outer] if self.outer else []

    def _apart(self, term: Term, leaf: Term) -> Mask:
        run, slot = run_and_slot(term, leaf, self.outer[id(leaf)])
        return np.asarray((slot < 0) | self.masks[id(leaf)][run, slot], bool)

    def _alike(self, term: Term) -> Mask | None:
        """Return a mask by the leaves that lose the same slots everywhere."""
        term = find(term)
        if id(term) not in self._together:
            self._together[id(term)] = self._mask(term)
        return self._together[id(term)]

    def _mask(self, term: Term) -> Mask | None:
        if term.kind == LEAF:
            return None if id(term) in self.outer else self.masks.get(id(term))
        parts = [(part, self._alike(part)) for part in term.parts]
        if all(mask is None for _, mask in parts):
            return None
        rows = [np.ones(part.size, bool) if mask is None else mask for part, mask in parts]
        if term.kind != PRODUCT:
            return np.concatenate(rows)
        whole = rows[0]
        for row in rows[1:]:
            whole = np.logical_and.outer(whole, row).reshape(-1)
        return whole
