"""Linears with weights that are mostly zero, in every form, against float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.kernels import backends, sparse

linear = torch.ops.fxcompress.linear_sparse


def weight_of(outputs, features, pattern, generator):
    weight = torch.randn(outputs, features, generator=generator)
    blocks = {"anywhere": (1, 1), "blocks": (16, 4), "broad": (32, 1), "columns": (outputs, 1)}[pattern]
    size = [-(-whole // part) for whole, part in zip((outputs, features), blocks, strict=True)]
    kept = torch.rand(size, generator=generator) < 0.3
    for axis, part in enumerate(blocks):
        kept = kept.repeat_interleave(part, axis)
    return weight * kept[:outputs, :features]


@settings(deadline=None)
@given(
    st.sampled_from([1, 2, 7, 16, 17, 33, 70]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["anywhere", "blocks", "broad", "columns"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_every_form(rows, outputs, features, pattern, biased, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = weight_of(outputs, features, pattern, generator)
    x = torch.randn(rows, features, generator=generator)
    bias = torch.randn(outputs, generator=generator) if biased else None
    want = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    for form in sparse.FORMS:
        torch.testing.assert_close(linear(x, weight, bias, form).double(), want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_leading_axes_and_what_is_not_read(threads):
    generator = torch.Generator().manual_seed(1)
    weight = weight_of(90, 130, "blocks", generator)
    weight[:, 5] = 0
    x = torch.randn(3, 50, 130, generator=generator)
    want = torch.nn.functional.linear(x.double(), weight.double())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # A feature that no weight reads may be anything.
        x[..., 5] = float("nan")
        for form in ("panels", "rows", "columns"):
            if form in sparse.forms_here():
                torch.testing.assert_close(linear(x, weight, None, form).double(), want, rtol=1e-5, atol=2e-5)
    finally:
        torch.set_num_threads(before)


def test_written_weights_and_no_rows():
    weight = torch.eye(20)
    x = torch.randn(4, 20)
    for form in sparse.FORMS:
        weight.copy_(torch.eye(20))
        torch.testing.assert_close(linear(x, weight, None, form), x)
        weight[0, 1] = 2
        torch.testing.assert_close(linear(x, weight, None, form)[:, 0], x[:, 0] + 2 * x[:, 1])
        assert linear(torch.empty(0, 20), weight, None, form).shape == (0, 20)
        assert not linear(x, torch.zeros(3, 20), None, form).any()


def test_without_native(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "native")
    backends.read_again()
    try:
        assert not {"panels", "rows"} & set(sparse.forms_here())
        x, weight = torch.randn(4, 20), torch.eye(20)
        torch.testing.assert_close(linear(x, weight, None, "panels"), x)
    finally:
        monkeypatch.undo()
        backends.read_again()


def test_the_operator():
    arguments = (torch.randn(3, 20), torch.eye(20), torch.zeros(20), "rows")
    torch.library.opcheck(linear.default, arguments, test_utils=("test_schema", "test_faketensor"))
