"""Gram: what numpy computes of all rows at once, however they are split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.calibration.gram import Gram
from fxcompress.errors import InputError, UsageError


def gathered(parts: list[tuple[torch.Tensor, torch.Tensor | None]]) -> Gram:
    gram = Gram()
    for rows, beside in parts:
        gram.update(rows, beside)
    return gram


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 6), st.booleans(), st.integers(0, 2**32))
def test_shards_merge_into_the_whole(sizes, cut, crossed, seed):
    torch.manual_seed(seed)
    parts = [(torch.randn(2, size, 3), torch.randn(2, size, 3) if crossed else None) for size in sizes]
    whole, first, second = gathered(parts), gathered(parts[:cut]), gathered(parts[cut:])
    first.merge(second)
    assert first.count == whole.count == sum(sizes)
    rows = np.concatenate([one.double().numpy() for one, _ in parts], 1)
    want = np.einsum("gri,grj->gij", rows, rows)
    assert np.allclose(first.products.numpy(), want, rtol=1e-12, atol=1e-12)
    assert torch.allclose(first.products, whole.products, rtol=1e-13, atol=1e-13)
    if crossed:
        others = np.concatenate([one.double().numpy() for _, one in parts], 1)
        assert np.allclose(first.crossed.numpy(), np.einsum("gri,grj->gij", rows, others), rtol=1e-12, atol=1e-12)
    else:
        assert first.crossed is None


def test_whole_numbers_merge_bit_by_bit():
    rows = torch.randint(-1000, 1000, (1, 64, 5)).float()
    first, second = gathered([(rows[:, :13], None)]), gathered([(rows[:, 13:], None)])
    second.merge(first)
    assert torch.equal(second.products, gathered([(rows, None)]).products)


def test_what_does_not_fit_is_an_error():
    gram = gathered([(torch.ones(1, 2, 3), None)])
    with pytest.raises(InputError, match="rows of 2 values, 3 before"):
        gram.update(torch.ones(1, 2, 2))
    with pytest.raises(InputError, match="not finite"):
        gram.update(torch.tensor([[[1.0, float("nan"), 0.0]]]))
    with pytest.raises(UsageError, match="do not merge"):
        gram.merge(gathered([(torch.ones(1, 2, 2), None)]))
    with pytest.raises(UsageError, match="do not merge"):
        gram.merge(gathered([(torch.ones(1, 2, 3), torch.ones(1, 2, 3))]))
    assert gram.count == 2
