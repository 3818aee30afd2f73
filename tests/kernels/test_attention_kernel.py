"""Attention of ours against torch's in float64: any strides, masks, groups of heads, and its gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress import kernels

assert kernels.attention
ops, attend = torch.ops.fxcompress, torch.nn.functional.scaled_dot_product_attention
each_backend = pytest.mark.parametrize("backend", ["native", "float"])


def heads(batch, count, rows, features, side_by_side):
    if side_by_side:
        return torch.randn(batch, rows, count, features).transpose(1, 2)
    return torch.randn(batch, count, rows, features)


def mask_of(kind, batch, count, rows, columns):
    return {
        "none": None,
        "bool": torch.rand(1, 1, rows, columns) > 0.4,
        "columns": torch.randn(batch, 1, 1, columns),
        "full": torch.randn(batch, count, rows, columns),
        "shut": torch.rand(batch, 1, rows, columns).sub(0.5).sign().clamp(max=0) * torch.finfo(torch.float32).max,
    }[kind]


@each_backend
@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_attention(backend, threads, data):
    batch, shared, group = (data.draw(st.integers(1, top)) for top in (2, 2, 3))
    rows, columns, features = (data.draw(st.integers(1, top)) for top in (20, 60, 80))
    kind = data.draw(st.sampled_from(["none", "bool", "columns", "full", "shut", "causal"]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    beside = data.draw(st.booleans())
    query = heads(batch, shared * group, rows, features, beside)
    key, value = (heads(batch, shared, columns, features, beside) for _ in range(2))
    mask = None if kind == "causal" else mask_of(kind, batch, shared * group, rows, columns)
    wide = mask.double() if mask is not None and mask.dtype == torch.float32 else mask
    operands = (query.double(), key.double(), value.double(), wide)
    want = attend(*operands, is_causal=kind == "causal", scale=0.3, enable_gqa=group > 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = ops.attention(query, key, value, mask, kind == "causal", 0.3, backend)
    finally:
        torch.set_num_threads(before)
    assert made.transpose(1, 2).is_contiguous()
    # A row that sees nothing is zero here, as it is in torch.
    assert (made - want).abs().max() < 2e-5


def test_features_apart_and_nothing_at_all():
    query = torch.randn(1, 2, 6, 5).transpose(2, 3)
    key, value = torch.randn(1, 2, 7, 6), torch.randn(1, 2, 7, 6)
    want = attend(query, key, value, scale=1.0)
    assert (ops.attention(query, key, value, None, False, 1.0, "native") - want).abs().max() < 1e-5
    empty = torch.randn(0, 2, 5, 6)
    assert ops.attention(empty, empty, empty, None, False, 1.0, "native").shape == (0, 2, 5, 6)


def test_gradients_are_those_of_torch():
    torch.manual_seed(0)
    given = [torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3)]
    mask = torch.randn(2, 1, 5, 5)
    weights = torch.randn(2, 3, 5, 8)
    want = torch.autograd.grad((attend(*given, mask, scale=0.5) * weights).sum(), given)
    have = torch.autograd.grad((ops.attention(*given, mask, False, 0.5, "native") * weights).sum(), given)
    for one, other in zip(have, want, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_types_without_data_agree_with_the_run():
    given = (*(torch.randn(2, 5, 3, 8).transpose(1, 2) for _ in range(3)), None, False, 0.5, "native")
    torch.library.opcheck(ops.attention.default, given, test_utils=("test_schema", "test_faketensor"))
