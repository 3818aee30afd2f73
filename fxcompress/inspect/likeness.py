"""How much a row is like another, and the alignment of two runs of rows whose total likeness is largest."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxcompress.inspect.neighbourhood import Codes, contents, hashes, labels_of, literals, shapes
from fxcompress.inspect.pairing import Graph, Pairs
from fxcompress.inspect.rows import Row

# Rows of one op are alike by at least this; what else they share is added.
SAME_OP = 4
# Cells of a table of alignments; longer runs are cut into pieces of even length.
MOST_CELLS = 16_000_000


@dataclass(frozen=True)
class Trait:
    """A fact about rows as numbers, those without it negative and all unlike; and how much it tells."""

    weight: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]


@dataclass(frozen=True)
class Likeness:
    """The likeness of any row of one graph to the rows of another.

    Attributes:
        op: what the rows call. Rows that call different things are alike only by what they read.
        traits: all else that rows of one op can share.
        lead: the first parameter that they read.
    """

    op: Trait
    traits: tuple[Trait, ...]
    lead: Trait

    def among(self, after: Sequence[int]) -> Likeness:
        """Return the likeness to the rows `after` alone, in their order."""
        chosen = np.array(after)
        op, lead, *traits = (
            Trait(trait.weight, trait.before, trait.after[chosen]) for trait in (self.op, self.lead, *self.traits)
        )
        return Likeness(op, tuple(traits), lead)

    def of_row(self, before: int) -> NDArray[np.int64]:
        """Return the likeness of row `before` to each of the rows after; 0 where they have nothing in common."""
        shared = np.full(len(self.op.after), SAME_OP, dtype=np.int64)
        for trait in self.traits:
            shared += trait.weight * (trait.after == trait.before[before])
        lead = self.lead.weight * (self.lead.after == self.lead.before[before])
        alike: NDArray[np.int64] = np.where(self.op.after == self.op.before[before], shared + lead, lead)
        return alike


def likeness_of(a: Graph, b: Graph, pairs: Pairs) -> Likeness:
    """Return the likeness of the free rows of two graphs; the pairs found so far tell what stands around them."""
    traits = _Traits(a, b, pairs)
    return Likeness(
        op=traits.fact(SAME_OP, lambda row: row.op),
        traits=(
            traits.fact(12, lambda row: contents(row) if row.parameters else None),
            traits.numbered(8, *([paths or None for paths in graph.paths] for graph in (a, b))),
            traits.fact(2, literals),
            traits.fact(2, lambda row: row.result),
            traits.fact(2, shapes),
            traits.fact(2, lambda row: row.name),
            traits.numbered(2, a.scopes, b.scopes),
            *traits.surroundings(2, along_inputs=True),
            *traits.surroundings(2, along_inputs=False),
        ),
        lead=traits.numbered(2, *([paths[0] if paths else None for paths in graph.paths] for graph in (a, b))),
    )


class _Traits:
    """Makes traits of the rows of two graphs."""

    def __init__(self, a: Graph, b: Graph, pairs: Pairs) -> None:
        self.a, self.b, self.codes = a, b, Codes()
        known = {i: i for i in pairs.after}, pairs.before
        self.labels = [
            labels_of(graph.rows, ids, lambda row: (row.op, literals(row)))
            for graph, ids in zip((a, b), known, strict=True)
        ]

    def numbered(self, weight: int, before: Sequence[Hashable], after: Sequence[Hashable]) -> Trait:
        """Return a trait of values, one a row; a row whose value is None is like no other."""
        x, y = (
            np.array([missing if value is None else self.codes(value) for value in values], dtype=np.int64)
            for missing, values in ((-1, before), (-2, after))
        )
        return Trait(weight, x, y)

    def fact(self, weight: int, of_row: Callable[[Row], Hashable]) -> Trait:
        return self.numbered(weight, [of_row(row) for row in self.a.rows], [of_row(row) for row in self.b.rows])

    def surroundings(self, weight: int, along_inputs: bool) -> list[Trait]:
        """Return two traits: what stands next to a row on one side, and what stands within three edges."""
        found = [
            hashes(labels, graph.inputs if along_inputs else graph.users, self.codes, ordered=along_inputs)
            for labels, graph in zip(self.labels, (self.a, self.b), strict=True)
        ]
        return [self.numbered(weight, found[0][rounds], found[1][rounds]) for rounds in (1, 3)]


def best_path(likeness: Likeness, before: Sequence[int], after: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs in rising order on both sides whose likeness adds up to the most.

    Time and memory grow with the product of the lengths; runs too long for that are cut into pieces of even length.
    """
    if not before or not after:
        return []
    pieces = -(-len(before) * len(after) // MOST_CELLS)
    if pieces > 1:
        cuts = range(pieces + 1)
        ends_a, ends_b = ([len(side) * cut // pieces for cut in cuts] for side in (before, after))
        parts = zip(ends_a, ends_a[1:], ends_b, ends_b[1:], strict=False)
        return [pair for x, y, u, v in parts for pair in best_path(likeness, before[x:y], after[u:v])]
    near = likeness.among(after)
    table = np.zeros((len(before) + 1, len(after) + 1), dtype=np.int32)
    for position, row in enumerate(before):
        above = table[position]
        reached = np.maximum(above[1:], above[:-1] + near.of_row(row))
        table[position + 1, 1:] = np.maximum.accumulate(reached)
    return [(before[x], after[y]) for x, y in _trace(table)]


def _trace(table: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return the pairs that lead to the last cell of `table`; among equals those that come first."""
    x, y = table.shape[0] - 1, table.shape[1] - 1
    pairs = []
    while x and y:
        if table[x, y] == table[x, y - 1]:
            y -= 1
        elif table[x, y] == table[x - 1, y]:
            x -= 1
        else:
            x, y = x - 1, y - 1
            pairs.append((x, y))
    return pairs[::-1]
