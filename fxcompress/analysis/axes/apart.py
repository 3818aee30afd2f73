"""Atoms that may lose other slots in each place of what stands before them: the channels of a grouped convolution.

Where every axis that has the channels of a group has the groups in front of them, each group may lose channels of its
own, as many as the others do. All that stands for one slot is then a pair of places: the group's, and the channel's.
The weight of a grouped convolution has the channels of one group beside the groups, in an axis of its own: there every
run of rows is cut by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.sizes import is_dynamic
from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, factors, find, leaves

Outer = tuple[Term, ...]
Places = NDArray[np.int64]


def outers(axes: Axes) -> dict[int, Outer]:
    """Return by the id of a free atom what stands before it in every axis that has it; atoms with nothing are left out.

    In place of the axis of a grouped weight that has the channels of one group stands that of all groups' channels.
    """
    found: dict[int, Outer] = {}
    known: dict[int, list[tuple[Term, Outer]]] = {}
    wholes = whole_axes(axes)
    for axis in axes.axes():
        term = find(wholes.get(id(axis), axis).term)
        if id(term) not in known:
            known[id(term)] = list(_places(term))
        for leaf, before in known[id(term)] if axis.size > 1 else ():
            some = found.get(id(leaf), before)
            found[id(leaf)] = tuple(one for one in some if any(one is other for other in before))
    return {leaf: row for leaf, row in found.items() if row}


def whole_axes(axes: Axes) -> dict[int, Axis]:
    """Return by the id of each axis of a stored weight that has one group's channels the axis that has all of them.

    Only of weights that nothing but such calls reads.
    """
    return {
        id(axis): axes.within[id(axis)][0]
        for value in axes.stored.values()
        for axis in value.axes
        if id(axis) in axes.within and len(axes.within[id(axis)]) == len(axes.readers[id(value)])
    }


def _places(term: Term) -> Iterator[tuple[Term, Outer]]:
    """Yield every free leaf of `term`, at each of its places, with the factors before it that stand there once."""
    term = find(term)
    if term.kind == LEAF:
        if term.size > 1 and term.pin is None:
            yield term, ()
    elif term.kind != PRODUCT:
        for part in term.parts:
            yield from _places(part)
    else:
        yield from _in_product(factors(term))


def _in_product(row: Sequence[Term]) -> Iterator[tuple[Term, Outer]]:
    count = Counter(id(leaf) for factor in row for leaf in leaves(factor))
    before: list[Term] = []
    for factor in row:
        once = all(count[id(leaf)] == 1 for leaf in leaves(factor))
        for leaf, own in _places(factor):
            yield leaf, (*before, *own) if once else ()
        if once and not is_dynamic(factor.size):
            before.append(factor)


def coordinates(term: Term, part: Term) -> Places:
    """Return for every position of `term` which position of `part` it has, -1 where it has none."""
    term = find(term)
    if term is part:
        return np.arange(term.size)
    if term.kind == LEAF:
        return np.full(term.size, -1)
    rows = [coordinates(one, part) for one in term.parts]
    if term.kind != PRODUCT:
        return np.concatenate(rows)
    whole = rows[0]
    for row in rows[1:]:
        whole = np.maximum.outer(whole, row).reshape(-1)
    return whole


def runs(outer: Outer) -> int:
    """Return how many places `outer` has, each of which may lose slots of its own."""
    return prod(one.size for one in outer)


def run_and_slot(term: Term, leaf: Term, outer: Outer) -> tuple[Places, Places]:
    """Return for every position of `term` the place of `outer` and the slot of `leaf` that it has.

    The slot is -1 where the position has none, and the place means nothing there.
    """
    run = np.zeros(term.size, np.int64)
    for one in outer:
        run = run * one.size + coordinates(term, one).clip(0)
    return run, coordinates(term, leaf)


def positions_apart(term: Term, leaf: Term, outer: Outer) -> Places:
    """Return [places of outer * slots, times]: the positions of `term` in which each slot of each place stands."""
    run, slot = run_and_slot(term, leaf, outer)
    key = np.where(slot < 0, -1, run * leaf.size + slot)
    order = np.argsort(key, kind="stable")[int((slot < 0).sum()) :]
    return order.reshape(runs(outer) * leaf.size, -1)
