"""Rows of two graphs that surely belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from fxcompress.inspect.neighbourhood import Codes, contents, hashes, labels_of, literals, shapes
from fxcompress.inspect.pairing import Graph, Pairs
from fxcompress.inspect.rows import Row


def pair_ends(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair the outputs."""
    ends = [next((i for i, row in enumerate(graph.rows) if row.op == "output"), None) for graph in (a, b)]
    if ends[0] is not None and ends[1] is not None:
        pairs.add(ends[0], ends[1])


def pair_origins(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair rows by the names that passes have recorded; of several claims to one row the likeliest wins.

    A row that still stands under its name has a claim too, so that one that was made beside it does not take its place.
    """
    recorded = {name for row in b.rows for name in row.origin}
    holders: dict[str, list[int]] = {}
    for i, row in enumerate(a.rows):
        for name in {row.name, *row.origin} & recorded:
            holders.setdefault(name, []).append(i)
    claims = []
    for j, row in enumerate(b.rows):
        for i in dict.fromkeys(i for name in (row.name, *row.origin) for i in holders.get(name, ())):
            former = a.rows[i]
            standing = (former.name, former.op, former.origin) == (row.name, row.op, row.origin)
            if standing or row.origin:
                likeness = (standing, former.name in row.origin, former.op == row.op, former.result == row.result)
                claims.append((tuple(not fact for fact in likeness), -j, i))
    for _, j, i in sorted(claims):
        pairs.add(i, -j)


def pair_contents(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair rows that read the same tensors, which no other rows read."""
    pair_equal([content_key(row) for row in a.rows], [content_key(row) for row in b.rows], pairs)


def content_key(row: Row) -> Hashable | None:
    return (row.op, shapes(row), contents(row)) if row.parameters else None


def pair_names(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair rows that read tensors of the same names, the ones with the same contents first."""
    pair_equal(name_keys(a, with_contents=True), name_keys(b, with_contents=True), pairs)
    pair_equal(name_keys(a, with_contents=False), name_keys(b, with_contents=False), pairs)


def name_keys(graph: Graph, with_contents: bool) -> list[Hashable | None]:
    return [
        (row.op, paths, contents(row) if with_contents else ()) if paths else None
        for row, paths in zip(graph.rows, graph.paths, strict=True)
    ]


def pair_surroundings(a: Graph, b: Graph, pairs: Pairs) -> None:
    """Pair rows in surroundings that are the same and that no other rows are in."""
    codes = Codes()
    pair_equal(surroundings(a, {i: i for i in pairs.after}, codes), surroundings(b, pairs.before, codes), pairs)


def surroundings(graph: Graph, known: Mapping[int, int], codes: Codes) -> list[tuple[int, int]]:
    """Return for every row what stands within three edges of it on either side, paired rows by what is `known`."""
    labels = labels_of(graph.rows, known, lambda row: (row.op, literals(row), contents(row)))
    backward = hashes(labels, graph.inputs, codes, ordered=True)
    forward = hashes(labels, graph.users, codes, ordered=False)
    return list(zip(backward[-1], forward[-1], strict=True))


def pair_equal(keys_a: Sequence[Hashable | None], keys_b: Sequence[Hashable | None], pairs: Pairs) -> None:
    """Pair the free rows whose key occurs once among the free rows of either graph."""
    free_a = {i: key for i, key in enumerate(keys_a) if key is not None and i not in pairs.after}
    free_b = {j: key for j, key in enumerate(keys_b) if key is not None and j not in pairs.before}
    counts_a, counts_b = Counter(free_a.values()), Counter(free_b.values())
    places = {key: j for j, key in free_b.items() if counts_b[key] == 1}
    for i, key in free_a.items():
        if counts_a[key] == 1 and key in places:
            pairs.add(i, places[key])
