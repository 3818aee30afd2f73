"""Where the slots of a leaf stand in an axis."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find

Positions = NDArray[np.int64]


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
