"""Which row of one snapshot is which row of another.

Rows that surely belong together are paired first: those whose origin a pass has recorded, those that stand in the same
surroundings, those that read the same contents, those that read parameters of the same names. Where pairs follow each
other in the same order in both graphs they cut the graphs into gaps, and in each gap the alignment of largest total
likeness is found, as S. Needleman and C. Wunsch do ("A general method applicable to the search for similarities in the
amino acid sequence of two proteins", 1970). What is left is paired where all that it reads is paired.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from fxcompress.inspect.likeness import best_path, likeness_of
from fxcompress.inspect.neighbourhood import Codes, contents, hashes, inputs_of, literals, shapes, users_of
from fxcompress.inspect.renaming import Prefix
from fxcompress.inspect.rows import Row
from fxcompress.inspect.sliding import slide_free_rows
from fxcompress.inspect.snapshot import Snapshot


@dataclass(frozen=True)
class Graph:
    """The rows of a snapshot with their edges."""

    rows: tuple[Row, ...]
    inputs: list[list[int]]
    users: list[list[int]]


class Pairs:
    """Pairs of row indices, one to one in both directions."""

    def __init__(self) -> None:
        self.after: dict[int, int] = {}
        self.before: dict[int, int] = {}

    def add(self, before: int, after: int) -> bool:
        """Pair two rows if neither has a partner yet."""
        if before in self.after or after in self.before:
            return False
        self.after[before] = after
        self.before[after] = before
        return True

    def remove(self, before: int) -> None:
        del self.before[self.after.pop(before)]


def align(before: Snapshot, after: Snapshot, prefix: Prefix) -> Pairs:
    """Return the pairs of rows, by index, that are one and the same node before and after."""
    a, b = graph_of(before), graph_of(after)
    pairs = Pairs()
    pair_ends(a, b, pairs)
    pair_origins(a, b, pairs)
    pair_unique(a, b, pairs, prefix)
    sure = set(pairs.after)
    pair_gaps(a, b, pairs, prefix)
    drop_unsupported(a, b, pairs, sure)
    pair_congruent(a, b, pairs)
    slide_free_rows(a, b, pairs, sure)
    return pairs


def graph_of(snapshot: Snapshot) -> Graph:
    inputs = inputs_of(snapshot.rows)
    return Graph(snapshot.rows, inputs, users_of(inputs))


def pair_ends(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair the outputs."""
    ends = [next((i for i, row in enumerate(graph.rows) if row.op == "output"), None) for graph in (a, b)]
    if ends[0] is not None and ends[1] is not None:
        pairs.add(ends[0], ends[1])


def pair_origins(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair rows by the names that passes have recorded; of several claims the likeliest wins."""
    if not any(row.origin for row in b.rows):
        return
    holders: dict[str, list[int]] = {}
    for i, row in enumerate(a.rows):
        for name in (row.name, *row.origin):
            holders.setdefault(name, []).append(i)
    claims = []
    for j, row in enumerate(b.rows):
        for i in dict.fromkeys(i for name in row.origin for i in holders.get(name, ())):
            former = a.rows[i]
            standing = former.name == row.name and former.origin == row.origin
            named = former.name in row.origin
            likeness = (standing, named, former.op == row.op, former.name == row.name, former.result == row.result)
            claims.append((tuple(not fact for fact in likeness), -j, i))
    for _, j, i in sorted(claims):
        pairs.add(i, -j)


def pair_unique(a: Graph, b: Graph, pairs: Pairs, prefix: Prefix) -> None:
    """Pair rows by keys that occur once in either graph, the most telling keys first."""
    codes = Codes()

    def surroundings(graph: Graph) -> list[Hashable]:
        labels = [(row.op, literals(row), contents(row)) for row in graph.rows]
        backward = hashes(labels, graph.inputs, codes, ordered=True)
        forward = hashes(labels, graph.users, codes, ordered=False)
        return list(zip(backward[-1], forward[-1], strict=True))

    for key_a, key_b in (
        (surroundings(a), surroundings(b)),
        ([content_key(row) for row in a.rows], [content_key(row) for row in b.rows]),
        ([path_key(row, prefix.before) for row in a.rows], [path_key(row, prefix.after) for row in b.rows]),
    ):
        for i, j in matches_of_unique(key_a, key_b, pairs):
            pairs.add(i, j)


def content_key(row: Row) -> Hashable | None:
    """What a row reads, if that is enough to tell it from others."""
    return (row.op, shapes(row), contents(row)) if row.parameters else None


def path_key(row: Row, shorten: Callable[[str], str]) -> Hashable | None:
    """The names of what a row reads."""
    return (row.op, tuple(shorten(parameter.path) for parameter in row.parameters)) if row.parameters else None


def matches_of_unique(
    keys_a: Sequence[Hashable | None], keys_b: Sequence[Hashable | None], pairs: Pairs
) -> list[tuple[int, int]]:
    """Return the pairs of free rows whose key occurs once among the free rows of either graph."""
    free_a = {i: key for i, key in enumerate(keys_a) if key is not None and i not in pairs.after}
    free_b = {j: key for j, key in enumerate(keys_b) if key is not None and j not in pairs.before}
    counts_a, counts_b = Counter(free_a.values()), Counter(free_b.values())
    places = {key: j for j, key in free_b.items() if counts_b[key] == 1}
    return [(i, places[key]) for i, key in free_a.items() if counts_a[key] == 1 and key in places]


def pair_gaps(a: Graph, b: Graph, pairs: Pairs, prefix: Prefix) -> None:
    """Align the free rows between pairs that follow each other in both graphs."""
    gaps = []
    start_a = start_b = 0
    for i, j in [*longest_increasing(sorted(pairs.after.items())), (len(a.rows), len(b.rows))]:
        free_a = [k for k in range(start_a, i) if k not in pairs.after]
        free_b = [k for k in range(start_b, j) if k not in pairs.before]
        if free_a and free_b:
            gaps.append((free_a, free_b))
        start_a, start_b = i + 1, j + 1
    if gaps:
        likeness = likeness_of(a, b, prefix)
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
        tails[place:], ends[place:] = (
            ([j, *tails[place + 1 :]], [position, *ends[place + 1 :]]) if place < len(tails) else ([j], [position])
        )
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


def sources(graph: Graph, paired: dict[int, int]) -> list[frozenset[int]]:
    """Return for every row the paired rows whose results reach it through none but free rows."""
    found: list[frozenset[int]] = []
    for given in graph.inputs:
        found.append(frozenset().union(*(frozenset((i,)) if i in paired else found[i] for i in given)))
    return found


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
