"""Bootstrap samples of pairs that were rated, and the correlations that they are measured by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import rankdata

Numbers = np.ndarray[Any, Any]
Drawn = np.ndarray[Any, Any]


def pearson(one: Numbers, other: Numbers) -> float:
    """Return the correlation times 100."""
    return 100 * float(np.corrcoef(one, other)[0, 1])


def spearman(one: Numbers, other: Numbers) -> float:
    """Return the correlation of the ranks times 100."""
    return pearson(rankdata(one), rankdata(other))


def pairs(count: int, draws: int) -> list[Drawn]:
    """Return places of `count` pairs, drawn with replacement."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, count, count) for _ in range(draws)]


def documents(count: int, draws: int) -> list[Drawn]:
    """Return places of pairs of documents that were drawn with replacement; `count` is that of all pairs.

    Pairs are in the order (0, 1), (0, 2), ... A document that is drawn twice makes no pair with itself.
    """
    size = (1 + math.isqrt(1 + 8 * count)) // 2
    place = np.full((size, size), -1)
    place[np.triu_indices(size, 1)] = np.arange(count)
    place = np.maximum(place, place.T)
    generator, (first, second) = np.random.default_rng(0), np.triu_indices(size, 1)
    found = []
    for _ in range(draws):
        drawn = generator.integers(0, size, size)
        places = place[drawn[first], drawn[second]]
        found.append(places[places >= 0])
    return found
