"""Patterns against brute force: N of M by trying all choices, blocks by loops, and the index that kernels read."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.sparsity.blocks import block_rows, kept_blocks
from fxcompress.sparsity.choosing import Choice, kept, kept_of_one
from fxcompress.sparsity.patterns import Blocks, KeepOf, Unstructured, pattern_of
from fxcompress.sparsity.schedule import pattern_at, share_done

sizes = st.tuples(st.integers(1, 9), st.integers(1, 13))


def scores_of(shape, seed):
    # Few distinct values, so that ties are the rule.
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 6, shape)).float()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("unstructured", Unstructured()), ("2:4", KeepOf(2, 4)), ("1:16", KeepOf(1, 16)), ("block:32x1", Blocks(32, 1))],
)
def test_texts(text, pattern):
    assert pattern_of(text) == pattern


@pytest.mark.parametrize(
    "text", ["", "2;4", "4:2", "4:4", "0:4", "block", "block:16", "block:0x4", "block:-1x4", "2:4x"]
)
def test_texts_that_spell_nothing(text):
    assert pattern_of(text) is None


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_n_of_m_keeps_what_the_best_choice_keeps(shape, keep, more, seed):
    scores, pattern = scores_of(shape, seed), KeepOf(keep, keep + more)
    mask = kept_of_one(scores, Choice(pattern, 0.0))
    for row, chosen in zip(scores.tolist(), mask.tolist(), strict=True):
        for start in range(0, len(row), pattern.of):
            group, some = row[start : start + pattern.of], chosen[start : start + pattern.of]
            count = min(keep, len(group))
            best = max(sum(one) for one in itertools.combinations(group, count))
            assert sum(some) == count
            assert sum(itertools.compress(group, some)) == best


def blocks_of(array, block):
    tall, wide = -(-array.shape[0] // block[0]), -(-array.shape[1] // block[1])
    for i, j in itertools.product(range(tall), range(wide)):
        yield (i, j), np.s_[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]


@settings(max_examples=60, deadline=None)
@given(sizes, st.tuples(st.integers(1, 4), st.integers(1, 4)), st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_blocks_go_whole_and_the_least_first(shape, block, share, balanced, seed):
    scores = scores_of(shape, seed).double()
    mask = kept_of_one(scores, Choice(Blocks(*block), share, balanced=balanced)).numpy()
    whole = {place: (mask[where], np.square(scores.numpy()[where]).mean()) for place, where in blocks_of(mask, block)}
    assert all(part.all() or not part.any() for part, _ in whole.values())
    rows = sorted({i for i, _ in whole})
    groups = [[(whole[place][0].all(), whole[place][1]) for place in whole if place[0] == i] for i in rows]
    groups = groups if balanced else [[one for row in groups for one in row]]
    for group in groups:
        gone, stay = [score for is_kept, score in group if not is_kept], [score for is_kept, score in group if is_kept]
        assert len(gone) == round(share * len(group))
        assert not gone or not stay or max(gone) <= min(stay) + 1e-9


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.floats(0, 1), st.integers(0, 99))
def test_blocks_of_all_weights_together(one, other, share, seed):
    scores = [scores_of(one, seed).double(), scores_of(other, seed + 1).double()]
    masks = kept(scores, Choice(Blocks(2, 3), share, scope="global", balanced=False))
    every = [
        (mask.numpy()[where].all(), np.square(score.numpy()[where]).mean())
        for score, mask in zip(scores, masks, strict=True)
        for _, where in blocks_of(score.numpy(), (2, 3))
    ]
    gone, stay = [score for is_kept, score in every if not is_kept], [score for is_kept, score in every if is_kept]
    assert len(gone) == round(share * len(every))
    assert not gone or not stay or max(gone) <= min(stay) + 1e-9


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0, 1), st.integers(0, 99))
def test_rows_by_themselves(shape, share, seed):
    scores = scores_of(shape, seed)
    mask = kept_of_one(scores, Choice(Unstructured(), share, scope="row"))
    for row, chosen in zip(scores.tolist(), mask.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda place: (row[place], place))[: round(share * len(row))]
        assert [place for place, one in enumerate(chosen) if not one] == sorted(order)


@settings(max_examples=40, deadline=None)
@given(sizes, st.tuples(st.integers(1, 4), st.integers(1, 4)), st.integers(0, 99))
def test_the_index_of_blocks_gives_the_matrix_back(shape, block, seed):
    matrix = scores_of(shape, seed) * (scores_of(shape, seed + 1) > 3)
    found = block_rows(matrix, block)
    cells = kept_blocks(matrix, found)
    built = torch.zeros(-(-shape[0] // block[0]) * block[0], -(-shape[1] // block[1]) * block[1])
    place = 0
    for i in range(len(found.starts) - 1):
        columns = found.columns[found.starts[i] : found.starts[i + 1]].tolist()
        assert columns == sorted(set(columns))
        for j in columns:
            built[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]] = cells[place]
            assert cells[place].any()
            place += 1
    assert place == len(cells)
    assert torch.equal(built[: shape[0], : shape[1]], matrix)
    if not (shape[0] % block[0] or shape[1] % block[1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they are in beta
            bsr = matrix.to_sparse_bsr(block)
        assert torch.equal(bsr.crow_indices(), found.starts)
        assert torch.equal(bsr.col_indices(), found.columns)


def test_balanced_says_how_many():
    mask = kept_of_one(torch.rand(32, 64), Choice(Blocks(8, 16), 0.5))
    assert block_rows(mask, (8, 16)).balanced == 2
    mask[:8] = False
    assert block_rows(mask, (8, 16)).balanced is None


def test_schedules():
    assert [share_done(step, 4, "linear") for step in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1]
    # Zhu and Gupta: s_f + (s_0 - s_f) (1 - t / n) ** 3, from nothing.
    assert [share_done(step, 4, "cubic") for step in (1, 2, 3, 4)] == [1 - 27 / 64, 1 - 8 / 64, 1 - 1 / 64, 1]
    assert [pattern_at(KeepOf(2, 8), done) for done in (0.0, 0.5, 1.0)] == [None, KeepOf(5, 8), KeepOf(2, 8)]
