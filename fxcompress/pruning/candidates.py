"""Which groups may lose slots together: of the factors of one product only one does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fxcompress.analysis.axes.groups import Group
from fxcompress.analysis.axes.terms import PRODUCT, Term, factors, find, leaves


def candidates(groups: Sequence[Group], factor: int = 0) -> list[Group]:
    """Return the groups to prune: of the free atoms of one product (heads and their channels) one.

    Args:
        factor: which one, from the major end: 0 removes whole heads, or whole groups of a convolution; -1 the last,
            a channel of all heads. What a product does not have is the nearest that it has.
    """
    found = {id(group.leaf): group for group in groups if group.free}
    for group in groups:
        for carrier in group.carriers:
            for row in products(carrier.axis.term):
                free = [[one for one in leaves(part) if id(one) in found] for part in row]
                free = [part for part in free if part]
                if len(free) > 1:
                    chosen = free.pop(-1 if factor < 0 else min(factor, len(free) - 1))
                    kept = {id(one) for one in chosen}
                    for one in (one for part in free for one in part if id(one) not in kept):
                        found.pop(id(one), None)
    return list(found.values())


def products(term: Term) -> Iterator[list[Term]]:
    """Yield the factors of every product within `term`, the outermost first."""
    term = find(term)
    if term.kind == PRODUCT:
        row = factors(term)
        yield row
        for factor in row:
            yield from products(factor)
    else:
        for part in term.parts:
            yield from products(part)
