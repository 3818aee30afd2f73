"""Labels of positions: the slots that each is made of, by brute force."""

from __future__ import annotations

from hypothesis import strategies as st

from fxcompress.analysis.axes.terms import LEAF, PRODUCT, Term, find

Label = frozenset[tuple[int, int]]


def labels(term: Term) -> list[Label]:
    """Return for each position the slots (leaf, number) that it is made of; pinned leaves say nothing."""
    term = find(term)
    if term.kind == LEAF:
        return [frozenset() if term.pin is not None else frozenset({(id(term), slot)}) for slot in range(term.size)]
    rows = [labels(part) for part in term.parts]
    if term.kind != PRODUCT:
        return [label for row in rows for label in row]
    found: list[Label] = [frozenset()]
    for row in rows:
        found = [one | other for one in found for other in row]
    return found


def factorised(draw, size: int) -> list[int]:
    """Draw factors of `size`, in any order, none of them 1."""
    row = []
    while size > 1:
        row.append(draw(st.sampled_from([part for part in range(2, size + 1) if size % part == 0])))
        size //= row[-1]
    return row
