"""Which groups may lose slots together: of the factors of one product only one. And which lose others at each place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.apart import Outer, outers, whole_axes
from fxcompress.analysis.axes.axis import Pin
from fxcompress.analysis.axes.groups import Group
from fxcompress.analysis.axes.terms import PRODUCT, Term, factors, find, leaves
from fxcompress.analysis.axes.zeros import inexact


def candidates(groups: Sequence[Group], factor: int = 0) -> list[Group]:
    """Return the groups to prune: of the free atoms of one product (heads and their channels) one.

    Args:
        factor: which one, from the major end: 0 removes whole heads, or whole groups of a convolution; -1 the last,
            a channel of all heads. What a product does not have is the nearest that it has.
    """
    of_leaf = {id(leaf): group for group in groups if group.free for leaf in group.leaves}
    found = {group.name: group for group in of_leaf.values()}
    for group in groups:
        for carrier in group.carriers:
            for row in products(carrier.axis.term):
                factors_of = [_groups(part, of_leaf, found) for part in row]
                free = [part for part in factors_of if part]
                if len(free) > 1:
                    chosen = free.pop(-1 if factor < 0 else min(factor, len(free) - 1))
                    for name in set().union(*free) - chosen:
                        del found[name]
    return list(found.values())


def apart(axes: Axes, groups: Sequence[Group], blame: Mapping[int, Pin]) -> dict[int, Outer]:
    """Return by the id of its atom what stands before the slots of each of `groups` that may lose others in each place.

    Which channels a group of a convolution no longer reads, an axis of its weight cannot say by positions of all rows.
    So these are only slots for which the zeros in what computes them say enough: of sigmoids of them, say, the groups
    lose the same ones.

    Args:
        blame: what is inexact where zeros stand in all weights.
    """
    atoms = {id(group.leaf) for group in groups}
    found = {leaf: outer for leaf, outer in outers(axes).items() if leaf in atoms}
    missed = inexact(axes, whole_axes(axes)) if found else {}
    return {leaf: outer for leaf, outer in found.items() if leaf in blame or leaf not in missed}


def _groups(term: Term, of_leaf: Mapping[int, Group], found: Mapping[str, Group]) -> set[str]:
    """Return the names of the groups among `found` that have leaves in `term`."""
    names = {of_leaf[id(one)].name for one in leaves(term) if id(one) in of_leaf}
    return names & found.keys()


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
