"""Terms: what the axes of a graph are made of.

Every axis is a term: a leaf (an atom), a product of terms (major to minor, as a view lays them out) or a sum of terms
(one behind the other, as a concatenation lays them out). Rules state that terms are equal; making them equal refines
leaves into products and sums (`unification.py`) until both are built from the same. A leaf that is left is what pruning
can take slots from: wherever it stands, in every tensor, the same slots go.

    w = leaf(64)                       # output channels of a convolution
    unify(w, product(leaf(2), c))      # viewed as two groups: w is now a product
    unify(w, total(a, b))              # and a concatenation of two halves: so a, b and c are one leaf of 32
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

LEAF, PRODUCT, SUM = "leaf", "product", "sum"


class Term:
    """One term; after a unification it may stand for another one, which `find` gives.

    Attributes:
        size: the number of positions; a dynamic size is a large prime that stands for it.
        kind: LEAF, PRODUCT or SUM.
        parts: factors of a product, major to minor; summands of a sum, in order.
        pin: why no slot of it may be removed, None where slots may. A reason is what the caller hands to `pin`.
    """

    __slots__ = ("kind", "parts", "pin", "same", "size")

    def __init__(self, size: int, kind: str = LEAF, parts: Sequence[Term] = (), pin: object = None) -> None:
        self.size = size
        self.kind = kind
        self.parts = tuple(parts)
        self.pin = pin
        self.same: Term | None = None

    def __repr__(self) -> str:
        term = find(self)
        if term.kind == LEAF:
            return f"{term.size}{'!' if term.pin is not None else ''}"
        return "(" + (" * " if term.kind == PRODUCT else " + ").join(map(repr, term.parts)) + ")"


def leaf(size: int) -> Term:
    """Return a new atom."""
    return Term(size)


def product(*parts: Term) -> Term:
    """Return the product of `parts`, major to minor; of one part, that part."""
    wide = [part for part in parts if part.size != 1]
    if len(wide) == 1:
        return wide[0]
    return Term(prod(part.size for part in parts), PRODUCT, wide) if wide else Term(1)


def total(*parts: Term) -> Term:
    """Return the sum of `parts`, one behind the other; of one part, that part."""
    some = [part for part in parts if part.size != 0]
    return some[0] if len(some) == 1 else Term(sum(part.size for part in parts), SUM, some)


def find(term: Term) -> Term:
    """Return the term that `term` stands for now."""
    root = term
    while root.same is not None:
        root = root.same
    while term.same is not None:
        term.same, term = root, term.same
    return root


def pin(term: Term, why: object) -> None:
    """Let no slot of `term` be removed; the first reason of every leaf is kept."""
    waiting = [term]
    while waiting:
        one = find(waiting.pop())
        if one.pin is None:
            one.pin = why
            waiting += one.parts


def leaves(term: Term) -> list[Term]:
    """Return the leaves of `term`, each once, in the order in which they first stand in it."""
    found: dict[int, Term] = {}
    waiting = [term]
    while waiting:
        one = find(waiting.pop())
        if one.kind == LEAF:
            found.setdefault(id(one), one)
        else:
            waiting += reversed(one.parts)
    return list(found.values())


def factors(term: Term) -> list[Term]:
    """Return the factors of `term` from major to minor, none of which is a product or of size 1."""
    term = find(term)
    if term.kind == PRODUCT:
        return [factor for part in term.parts for factor in factors(part)]
    return [term] if term.size != 1 else []


def summands(term: Term) -> list[Term]:
    """Return the summands of `term` in order, none of which is a sum."""
    found: list[Term] = []
    waiting = [term]
    while waiting:
        one = find(waiting.pop())
        if one.kind == SUM:
            waiting += reversed(one.parts)
        else:
            found.append(one)
    return found


def units(term: Term) -> list[Term] | None:
    """Take the leaves of `term` apart into single positions and return these in order; None where it has a product.

    A position of its own may be removed, other than a part of size 1 that a cut leaves over.
    """
    if any(one.kind == PRODUCT for one in summands(term)):
        return None
    for one in summands(term):
        if one.kind == LEAF and one.size > 1:  # a leaf may stand in several places
            one.kind, one.parts = SUM, tuple(Term(1, pin=one.pin) for _ in range(one.size))
    return summands(term)
