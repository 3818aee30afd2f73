"""Which groups may lose slots together: of the factors of one product only one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fxcompress.analysis.axes.groups import Group
from fxcompress.analysis.axes.terms import PRODUCT, Term, factors, find, leaves


def candidates(groups: Sequence[Group], smallest: int = 2) -> list[Group]:
    """Return the groups to prune: of the free atoms of one product (heads and their channels) the major one.

    A head, or a whole group of a convolution, is removed rather than a channel of all heads, since what is left of it
    stays as it was. An atom of fewer than `smallest` slots gives way to the next one.
    """
    found = {id(group.leaf): group for group in groups if group.free and group.size >= smallest}
    for group in groups:
        if id(group.leaf) in found:
            for carrier in group.carriers:
                for minor in _minors(carrier.axis.term, group.leaf):
                    if minor is not group.leaf:
                        found.pop(id(minor), None)
    return list(found.values())


def _minors(term: Term, leaf: Term) -> Iterable[Term]:
    """Yield the leaves that stand behind `leaf` in a product of `term`, none of them beside it in a sum."""
    term = find(term)
    if term.kind == PRODUCT:
        row = factors(term)
        place = next((i for i, factor in enumerate(row) if any(one is leaf for one in leaves(factor))), len(row))
        for factor in row[place + 1 :]:
            yield from leaves(factor)
        if place < len(row):
            yield from _minors(row[place], leaf)
    else:
        for part in term.parts:
            yield from _minors(part, leaf)
