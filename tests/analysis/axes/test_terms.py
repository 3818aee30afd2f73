"""Terms against brute force: every position of a term is labelled with the slots that it is made of."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling import factorised, labels

from fxcompress.analysis.axes.terms import Term, factors, find, leaf, leaves, pin, product, summands, total
from fxcompress.analysis.axes.unification import match_products, split, unify

WHY = "does not fit"
quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def pinned(term: Term) -> bool:
    return any(one.pin is not None for one in leaves(term))


def divisor_chain(*rows: list[int]) -> bool:
    """Whether products of `rows` have a common refinement: all their strides divide one another."""
    strides = sorted(
        {stride for row in rows for stride in accumulate(reversed(row), initial=1, func=lambda a, b: a * b)}
    )
    return all(large % small == 0 for small, large in pairwise(strides))


@st.composite
def terms(draw, size: int, pool: list[Term], depth: int = 2) -> Term:
    """Draw a term of `size`, of new leaves and of those in `pool`."""
    known = [one for one in pool if one.size == size]
    kind = draw(st.sampled_from(["leaf", "known", "product", "sum"])) if depth and size > 1 else "leaf"
    if kind == "known" and known:
        return draw(st.sampled_from(known))
    if kind == "product":
        row = factorised(draw, size)
        if len(row) > 1:
            return product(*(draw(terms(part, pool, depth - 1)) for part in row))
    if kind == "sum":
        first = draw(st.integers(1, size - 1))
        return total(draw(terms(first, pool, depth - 1)), draw(terms(size - first, pool, depth - 1)))
    pool.append(leaf(size))
    return pool[-1]


@quick
@given(st.data())
def test_terms_made_equal_label_positions_equally(data):
    size = data.draw(st.sampled_from([4, 6, 8, 12, 16, 24]))
    pool: list[Term] = []
    one, other = data.draw(terms(size, pool)), data.draw(terms(size, pool))
    before = [(labels(term), [id(each) for each in leaves(term)]) for term in (one, other)]
    unify(one, other, WHY)
    assert labels(one) == labels(other)
    assert [len(row) for row, _ in before] == [len(labels(one)), len(labels(other))]


@quick
@given(st.data())
def test_several_equalities_hold_together(data):
    size = data.draw(st.sampled_from([6, 8, 12]))
    pool: list[Term] = []
    rows = [data.draw(terms(size, pool)) for _ in range(4)]
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4))
    for one, other in pairs:
        unify(rows[one], rows[other], WHY)
    for one, other in pairs:
        assert labels(rows[one]) == labels(rows[other])


@quick
@given(st.data())
def test_products_are_refined_where_their_strides_divide_one_another(data):
    size = data.draw(st.sampled_from([8, 12, 24, 36, 48]))
    one, other = factorised(data.draw, size), factorised(data.draw, size)
    left, right = [leaf(part) for part in one], [leaf(part) for part in other]
    match_products(left, right, WHY)
    assert labels(product(*left)) == labels(product(*right))
    assert any(map(pinned, left)) == (not divisor_chain(one, other))
    assert any(map(pinned, right)) == (not divisor_chain(one, other))


@quick
@given(st.data())
def test_sums_are_cut_where_either_is(data):
    size = data.draw(st.integers(6, 30))
    ends = [sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=4))) for _ in range(2)]
    rows = [[leaf(b - a) for a, b in zip([0, *row], [*row, size], strict=True)] for row in ends]
    one, other = total(*rows[0]), total(*rows[1])
    unify(one, other, WHY)
    assert labels(one) == labels(other)
    cuts = [0, *sorted({*ends[0], *ends[1]}), size]
    assert [part.size for part in summands(one)] == [b - a for a, b in pairwise(cuts)]
    whole = [len(row) for row in rows]
    made_by_a_cut = [part for part in summands(one) if part.size == 1 and part.pin is not None]
    assert all(part.pin is None for part in summands(one) if part.size > 1), (whole, made_by_a_cut)


def test_a_product_of_a_sum_is_the_sum_of_products():
    heads, size = leaf(6), leaf(4)
    query, key = leaf(16), leaf(8)
    unify(product(heads, size), total(query, key), WHY)
    assert [part.size for part in summands(heads)] == [4, 2]
    assert labels(query) == labels(product(summands(heads)[0], size))
    assert labels(key) == labels(product(summands(heads)[1], size))
    assert not pinned(query)


def test_halves_within_a_head_repeat_in_every_head():
    heads, size = leaf(3), leaf(4)
    halves = [leaf(2) for _ in range(6)]
    unify(product(heads, size), total(*halves), WHY)
    assert len({tuple(labels(half)) for half in halves}) == 2
    assert heads.pin is not None
    assert labels(size) == labels(total(*halves[:2]))


def test_what_a_sum_cannot_be_cut_at_is_pinned():
    heads, size = leaf(3), leaf(4)
    one, other = leaf(6), leaf(6)
    unify(product(heads, size), total(one, other), WHY)
    assert all(find(term).pin == WHY for term in (heads, size, one, other))


def test_of_different_sizes_all_is_pinned():
    one, other = product(leaf(2), leaf(3)), leaf(5)
    unify(one, other, WHY)
    assert [each.pin for each in (*leaves(one), other)] == [WHY] * 3


def test_what_fits_at_both_ends_stays_free_around_what_does_not():
    left, right = [leaf(5), leaf(4), leaf(6), leaf(7)], [leaf(5), leaf(6), leaf(4), leaf(7)]
    match_products(left, right, WHY)
    assert [find(term).pin for term in left] == [None, WHY, WHY, None]
    assert find(left[0]) is find(right[0])
    assert find(left[3]) is find(right[3])


@pytest.mark.parametrize("first", [True, False])
def test_a_pin_reaches_everything_that_is_equal(first):
    one, inner = leaf(12), [leaf(3), leaf(4)]
    if first:
        pin(one, "held")
        unify(one, product(*inner), WHY)
    else:
        unify(one, product(*inner), WHY)
        pin(inner[1], "held")
    assert [find(part).pin for part in inner] == (["held", "held"] if first else [None, "held"])
    other = leaf(12)
    unify(other, one, WHY)
    assert [each.pin for each in leaves(other)] == [find(part).pin for part in inner]


def test_the_first_reason_is_kept():
    one, other = leaf(4), leaf(4)
    pin(one, "first")
    pin(other, "second")
    unify(one, other, WHY)
    pin(one, "third")
    assert find(one).pin in ("first", "second")


def test_a_leaf_shared_by_both_sides_stays_one():
    groups, inner = leaf(2), leaf(3)
    unify(product(groups, inner), product(groups, inner), WHY)
    assert [each.pin for each in (groups, inner)] == [None, None]
    halves = leaf(3)
    unify(total(halves, halves), product(groups, inner), WHY)
    assert labels(total(halves, halves)) == labels(product(groups, inner))


def test_a_leaf_of_a_square_turned_is_tied_to_itself():
    """[n, n] read as the other way round: slots of both factors are the same."""
    one, other = leaf(3), leaf(3)
    unify(product(one, other), product(other, one), WHY)
    assert find(one) is find(other)


def test_factors_leave_out_what_has_one_position():
    assert [part.size for part in factors(product(leaf(1), leaf(2), product(leaf(3), leaf(1))))] == [2, 3]
    assert product(leaf(1), leaf(1)).size == 1


def test_parts_of_one_position_are_pinned():
    one = leaf(4)
    split(one, (1, 3), WHY)
    assert [part.pin is not None for part in one.parts] == [True, False]


def test_a_product_within_a_sum_is_cut_at_whole_rows():
    major, minor, rest, first, second = leaf(6), leaf(2), leaf(4), leaf(4), leaf(12)
    one, other = total(product(major, minor), rest), total(first, second)
    unify(one, other, WHY)
    assert [part.size for part in summands(major)] == [2, 4]
    assert labels(one) == labels(other)
    assert labels(first) == labels(product(summands(major)[0], minor))
    assert not pinned(one)
