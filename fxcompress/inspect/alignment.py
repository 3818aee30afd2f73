"""Which row of one snapshot is which row of another.

Rows whose origin a pass has recorded are paired first, and rows that read tensors of the same contents. Where such
pairs follow each other in the same order in both graphs they cut the graphs into gaps, and in each gap the alignment of
largest total likeness is found, as S. Needleman and C. Wunsch do ("A general method applicable to the search for
similarities in the amino acid sequence of two proteins", 1970): names, modules, arguments, types and surroundings all
count, none of them alone. What is left stands in another order in the two graphs and is paired by names, by
surroundings, and where all that it reads is paired.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from fxcompress.inspect.anchors import pair_contents, pair_ends, pair_names, pair_origins, pair_surroundings
from fxcompress.inspect.likeness import MOST_CELLS, best_path, likeness_of
from fxcompress.inspect.neighbourhood import contents, literals
from fxcompress.inspect.pairing import Graph, Pairs, sources
from fxcompress.inspect.rows import Row
from fxcompress.inspect.sliding import slide_free_rows


def align(a: Graph, b: Graph) -> Pairs:
    """Return the pairs of rows, by index, that are one and the same node before and after."""
    pairs = Pairs()
    pair_ends(a, b, pairs)
    pair_origins(a, b, pairs)
    pair_contents(a, b, pairs)
    sure = set(pairs.after)
    if any(len(x) * len(y) > MOST_CELLS for x, y in gaps_between(a, b, pairs)):
        pair_names(a, b, pairs)
        pair_surroundings(a, b, pairs)
    pair_gaps(a, b, pairs)
    slide_free_rows(a, b, pairs, sure)
    drop_unsupported(a, b, pairs, sure)
    pair_names(a, b, pairs)
    pair_surroundings(a, b, pairs)
    pair_congruent(a, b, pairs)
    slide_free_rows(a, b, pairs, sure)
    return pairs


def gaps_between(a: Graph, b: Graph, pairs: Pairs) -> list[tuple[list[int], list[int]]]:
    """Return the free rows of either graph between pairs that follow each other in both."""
    gaps = []
    start_a = start_b = 0
    for i, j in [*longest_increasing(sorted(pairs.after.items())), (len(a.rows), len(b.rows))]:
        free_a = [k for k in range(start_a, i) if k not in pairs.after]
        free_b = [k for k in range(start_b, j) if k not in pairs.before]
        if free_a and free_b:
            gaps.append((free_a, free_b))
        start_a, start_b = i + 1, j + 1
    return gaps


def pair_gaps(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Align the free rows of every gap."""
    gaps = gaps_between(a, b, pairs)
    if gaps:
        likeness = likeness_of(a, b, pairs)
        for x, y in [pair for free_a, free_b in gaps for pair in best_path(likeness, free_a, free_b)]:
            pairs.add(x, y)


def longest_increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest run of `pairs`, sorted by their first members, whose second members rise."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for position, (_, j) in enumerate(pairs):
        place = bisect_left(tails, j)
        previous.append(ends[place - 1] if place else -1)
        tails[place : place + 1], ends[place : place + 1] = [j], [position]
    run: list[tuple[int, int]] = []
    position = ends[-1] if ends else -1
    while position >= 0:
        run.append(pairs[position])
        position = previous[position]
    return run[::-1]


def drop_unsupported(a: Graph, b: Graph, pairs: Pairs, sure: Iterable[int]) -> None:
    """Part the rows that were paired for their looks alone: nothing that they read or feed is paired."""
    kept, partner = set(sure), dict(pairs.after)
    sources_a, sources_b = sources(a, pairs.after), sources(b, pairs.before)
    for i, j in partner.items():
        if i in kept or a.rows[i].op == "placeholder":
            continue
        above = {partner[x] for x in sources_a[i]} & sources_b[j]
        below = {partner[x] for x in a.users[i] if x in partner} & set(b.users[j])
        if not above and not below and (a.inputs[i] or b.inputs[j]):
            pairs.remove(i)


def pair_congruent(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair free rows that call the same with the same, in whatever order the graphs have them."""
    roots = [i for i, given in enumerate(a.inputs) if not given]
    for j, row in enumerate(b.rows):
        given = b.inputs[j]
        if j in pairs.before or not all(x in pairs.before for x in given):
            continue
        former = [pairs.before[x] for x in given]
        for i in a.users[former[0]] if former else roots:
            if i not in pairs.after and a.inputs[i] == former and same_call(a.rows[i], row):
                pairs.add(i, j)
                break


def same_call(a: Row, b: Row) -> bool:
    return a.target == b.target and literals(a) == literals(b) and contents(a) == contents(b)
