"""Where the slots of a leaf stand in an axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find, summands

Positions = NDArray[np.int64]


def positions_of_all(term: Term, row: Sequence[Term]) -> Positions:
    """Return [slots, times] for the slots of several leaves, one behind the other.

    A leaf that stands more often than others sets the times; the places of the others are repeated.
    """
    if len(row) == 1:
        return positions_of(term, row[0])
    if all(one.kind == LEAF for one in summands(term)):
        places: dict[int, list[int]] = {}
        for place, one in enumerate(summands(term)):
            places.setdefault(id(one), []).append(place)
        found = [np.array([places[id(leaf)]], np.int64) for leaf in row]
    else:
        found = [positions_of(term, leaf) for leaf in row]
    times = max(one.shape[1] for one in found)
    return np.concatenate([np.resize(one, (one.shape[0], times)) for one in found])


def positions_of(term: Term, leaf: Term) -> Positions:
    """Return [slots, times]: the positions of `term` in which each slot of `leaf` stands."""
    term = find(term)
    if term is leaf:
        return np.arange(leaf.size, dtype=np.int64).reshape(-1, 1)
    return np.concatenate(list(_places(term, leaf)), axis=1)


def _places(term: Term, leaf: Term) -> Iterator[Positions]:
    """Yield [slots, times] for every place of `leaf` in `term`."""
    if term.kind == LEAF:
        if term is leaf:
            yield np.arange(leaf.size, dtype=np.int64).reshape(-1, 1)
    elif term.kind == PRODUCT:
        yield from _in_product([find(part) for part in term.parts], leaf)
    else:
        start = 0
        for part in map(find, term.parts):
            for found in _places(part, leaf):
                yield start + found
            start += part.size


def _in_product(parts: list[Term], leaf: Term) -> Iterator[Positions]:
    """Each place within one factor comes once for every position of the others."""
    steps = [prod(part.size for part in parts[place + 1 :]) for place in range(len(parts))]
    for place, part in enumerate(parts):
        for found in _places(part, leaf):
            others = _grid([(one.size, steps[i]) for i, one in enumerate(parts) if i != place])
            yield (steps[place] * found[:, :, None] + others[None, None, :]).reshape(leaf.size, -1)


def _grid(steps: list[tuple[int, int]]) -> Positions:
    """Return every sum of multiples: for each (count, step) one of 0, step, ..., (count - 1) * step."""
    found = np.zeros(1, np.int64)
    for count, step in steps:
        found = (found[:, None] + step * np.arange(count)).reshape(-1)
    return found
