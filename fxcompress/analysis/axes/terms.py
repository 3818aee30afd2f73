"""Terms: what the axes of a graph are made of, and how two of them are found to be the same.

Every axis is a term: a leaf (an atom), a product of terms (major to minor, as a view lays them out) or a sum of terms
(one behind the other, as a concatenation lays them out). Rules state that terms are equal; making them equal refines
leaves into products and sums until both are built from the same leaves. A leaf that is left is what pruning can take
slots from: wherever it stands, in every tensor, the same slots go.

    w = leaf(64)                       # output channels of a convolution
    unify(w, product(leaf(2), c))      # viewed as two groups: w is now a product
    unify(w, total(a, b))              # and a concatenation of two halves: so a, b and c are one leaf of 32
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def unify(one: Term, other: Term, why: object) -> None:
    """Make two terms equal, refining leaves; where no refinement makes them equal, pin what does not fit for `why`."""
    one, other = find(one), find(other)
    if one is other:
        return
    if one.size != other.size:
        pin(one, why)
        pin(other, why)
    elif one.kind == LEAF:
        _bind(one, other)
    elif other.kind == LEAF:
        _bind(other, one)
    elif one.kind == PRODUCT and other.kind == PRODUCT:
        match_products(factors(one), factors(other), why)
    elif one.kind == SUM and other.kind == SUM:
        _match_sums(summands(one), summands(other), why)
    elif one.kind == SUM:
        _distribute(other, one, why)
    else:
        _distribute(one, other, why)


def _bind(one: Term, other: Term) -> None:
    """Let the leaf `one` stand for `other`."""
    if one.pin is not None:
        pin(other, one.pin)
    one.same = other


def match_products(left: Sequence[Term], right: Sequence[Term], why: object) -> None:
    """Make the product of `left` equal to that of `right`: from the major end, then from the minor, as far as they fit.

    What is left over in the middle has no common refinement and is pinned.
    """
    ones, others = _factors_of(left), _factors_of(right)
    for end in (0, -1):
        while ones and others:
            one, other = ones[end], others[end]
            if one.size == other.size:
                ones.pop(end)
                others.pop(end)
                unify(one, other, why)
            elif one.size > other.size and one.size % other.size == 0:
                _split_factor(ones, end, other.size, why)
            elif other.size > one.size and other.size % one.size == 0:
                _split_factor(others, end, one.size, why)
            else:
                break
    for term in (*ones, *others):
        pin(term, why)


def _factors_of(terms: Iterable[Term]) -> list[Term]:
    return [factor for term in terms for factor in factors(term)]


def _split_factor(row: list[Term], end: int, size: int, why: object) -> None:
    """Replace the factor at an `end` of `row` by two, of which that at the end has `size`."""
    whole = row.pop(end)
    outer, inner = Term(size), Term(whole.size // size)
    major, minor = (outer, inner) if end == 0 else (inner, outer)
    unify(whole, product(major, minor), why)
    pieces = _factors_of([major, minor])
    if end == 0:
        row[:0] = pieces
    else:
        row += pieces


def _match_sums(ones: list[Term], others: list[Term], why: object) -> None:
    """Make two rows of summands equal, cutting them at each other's ends."""
    ones, others = ones[::-1], others[::-1]
    while ones and others:
        one, other = find(ones.pop()), find(others.pop())
        if one.kind == SUM:
            ones += reversed(summands(one))
            others.append(other)
        elif other.kind == SUM:
            others += reversed(summands(other))
            ones.append(one)
        elif one.size == other.size:
            unify(one, other, why)
        elif one.size > other.size:
            _cover(one, other, ones, others, why)
        else:
            _cover(other, one, others, ones, why)


def _cover(large: Term, small: Term, larges: list[Term], smalls: list[Term], why: object) -> None:
    """Make `large` equal to `small` and what follows it on the reversed row `smalls`; a product is cut instead."""
    if large.kind == PRODUCT:
        smalls.append(small)
        _cut(large, small.size, larges, why)
        return
    pieces, missing = [small], large.size - small.size
    while missing:
        piece = find(smalls.pop())
        if piece.kind == SUM:
            smalls += reversed(summands(piece))
        elif piece.size <= missing:
            pieces.append(piece)
            missing -= piece.size
        else:
            _cut(piece, missing, smalls, why)
    _bind(large, total(*pieces))


def _cut(term: Term, size: int, row: list[Term], why: object) -> None:
    """Cut `term` in two, the first of `size`, and put both on the reversed `row`; pin it where it cannot be cut there."""
    if term.kind == LEAF:
        split(term, (size, term.size - size))
        row += reversed([find(part) for part in term.parts])
        return
    major, *minor = factors(term)
    inner = prod(part.size for part in minor)
    if size % inner:
        pin(term, why)
        row += [Term(term.size - size, pin=why), Term(size, pin=why)]
        return
    pieces = Term(size // inner), Term(major.size - size // inner)
    unify(major, total(*pieces), why)
    row += [product(piece, *minor) for piece in reversed(pieces)]


def _distribute(term: Term, summed: Term, why: object) -> None:
    """Make a product equal to a sum: the major factor is cut where the sum is; each part times the rest is a summand."""
    major, *minor = factors(term)
    inner = prod(part.size for part in minor)
    parts = summands(summed)
    if any(part.size % inner for part in parts):
        if all(inner % part.size == 0 for part in parts):
            _repeat(major, minor, parts, inner, why)
            return
        pin(term, why)
        pin(summed, why)
        return
    pieces = [Term(part.size // inner) for part in parts]
    for piece, part in zip(pieces, parts, strict=True):
        unify(product(piece, *minor), part, why)
    unify(major, total(*pieces), why)
    _pin_units(pieces, why)


def _repeat(major: Term, minor: list[Term], parts: list[Term], inner: int, why: object) -> None:
    """Make a product equal to a sum whose parts repeat within each copy of the minor factors."""
    rows: list[list[Term]] = [[]]
    for part in parts:
        if sum(one.size for one in rows[-1]) == inner:
            rows.append([])
        rows[-1].append(part)
    if any(sum(one.size for one in row) != inner for row in rows):
        for term in (major, *minor, *parts):
            pin(term, why)
        return
    pin(major, why)
    for row in rows:
        unify(product(*minor), total(*row), why)


def split(term: Term, sizes: Sequence[int]) -> None:
    """Make a sum of parts of `sizes` out of a leaf. A part of one position is pinned: it is a place of its own."""
    term.kind = SUM
    term.parts = tuple(Term(size, pin=term.pin) for size in sizes)
    _pin_units(term.parts, "one position")


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


def _pin_units(parts: Sequence[Term], why: object) -> None:
    for part in parts:
        if part.size == 1:
            pin(part, why)
