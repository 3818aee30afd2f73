"""clip against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import Draft, apply

from fxcompress.errors import PassFailed

aten = torch.ops.aten


def linear(weight):
    draft = Draft()
    x = draft.input("x", torch.randn(2, weight.shape[1], dtype=weight.dtype))
    return draft.module(draft.call(aten.linear.default, x, draft.tensor("fc.weight", weight)))


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ("limit=0.5", lambda w: 0.5),
        ("deviations=1.5", lambda w: 1.5 * w.std()),
        ("limit=0.5 deviations=1.5", lambda w: min(0.5, 1.5 * w.std())),
        ("limit=100 deviations=1.5", lambda w: 1.5 * w.std()),
    ],
)
def test_range(options, bound):
    weight = torch.randn(7, 5, dtype=torch.float64)
    expected = weight.numpy().copy()
    limit = bound(expected)
    outside = int((np.abs(expected) > limit).sum())
    module, context = apply(f"clip{{{options}}}", linear(weight))
    got = module.fc.weight.detach().numpy()
    assert np.allclose(got, np.clip(expected, -limit, limit), rtol=1e-14)
    assert context.statistics == {"clipped": outside, "weights": 35}
    assert context.details == {"clipped": {"fc.weight": outside}}


def test_a_tensor_of_equal_elements_has_no_deviation():
    module, context = apply("clip{deviations=2}", linear(torch.full((2, 3), 0.7)))
    assert torch.equal(module.fc.weight, torch.full((2, 3), 0.7))
    assert context.notes == ["fc.weight: left alone, all of its elements are the same"]


def test_half_precision_stays_within_the_range():
    module, _ = apply("clip{limit=0.3}", linear(torch.randn(8, 8).bfloat16()))
    assert float(module.fc.weight.detach().abs().max()) <= float(torch.tensor(0.3).bfloat16())
    assert module.fc.weight.dtype == torch.bfloat16


def test_without_a_range_it_says_how():
    with pytest.raises(PassFailed, match="no range is given") as caught:
        apply("clip", linear(torch.randn(2, 3)))
    assert "clip{limit=...}" in str(caught.value)
