"""Making two terms equal: leaves are refined into products and sums until both are built from the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from fxcompress.analysis.axes.axis import Pin
from fxcompress.analysis.axes.terms import LEAF, PRODUCT, SUM, Term, factors, find, pin, product, summands, total


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
    """Cut `term` in two, the first of `size`, and put both on the reversed `row`; pin it where it does not divide."""
    if term.kind == LEAF:
        split(term, (size, term.size - size), why)
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
    """Make a product equal to a sum: the major factor is cut where the sum is, and each part times the rest is one."""
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


def split(term: Term, sizes: Sequence[int], why: object) -> None:
    """Make a sum of parts of `sizes` out of a leaf. A part of one position is pinned: it is a place of its own."""
    term.kind = SUM
    term.parts = tuple(Term(size, pin=term.pin) for size in sizes)
    _pin_units(term.parts, why.of_one if isinstance(why, Pin) else why)


def _pin_units(parts: Sequence[Term], why: object) -> None:
    for part in parts:
        if part.size == 1:
            pin(part, why)
