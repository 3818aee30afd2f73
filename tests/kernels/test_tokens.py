"""Linears of tokens, and all that stands behind them, against float64 and torch's own operators."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import layer, operands

from fxcompress import kernels
from fxcompress.kernels import reference

assert kernels.tokens
ops, functional = torch.ops.fxcompress, torch.nn.functional
each_backend = pytest.mark.parametrize("backend", ["native", "onednn", "int_mm", "float"])
quick = settings(max_examples=25, deadline=None)
POSTS = {
    "none": lambda values: values,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "silu": functional.silu,
}
NOTHING = ("none", None, "none", None, None, 0.0)


def apart(result, want):
    return float((result.double() - want).abs().max() / want.abs().max().clamp(min=1e-12))


def floats_of(values, scales, zeros):
    return (values.double() - zeros.double()[..., None]) * scales.double()[..., None]


@each_backend
@quick
@given(rows=st.integers(1, 40), count=st.integers(1, 70), seed=st.integers(0, 99))
def test_tokens_are_the_quantized_rows(backend, rows, count, seed):
    torch.manual_seed(seed)
    values = torch.randn(rows, count) * 10 ** torch.randn(rows, 1)
    made = floats_of(*ops.finish_rows(values, *NOTHING, ["tokens"], backend))
    step = (values.amax(-1).clamp(min=0) - values.amin(-1).clamp(max=0)).double() / 255
    # Nowhere further off than half a step, and a hair for float32.
    assert ((made - values).abs() <= 0.501 * step[:, None] + 1e-12).all()


@each_backend
@pytest.mark.parametrize("threads", [1, 2])
@quick
@given(data=st.data())
def test_linear_with_all_that_stands_behind(backend, threads, data):
    rows, four, outputs = (data.draw(st.integers(1, top)) for top in (70, 30, 110))
    post = data.draw(st.sampled_from(sorted(POSTS)))
    norm = data.draw(st.sampled_from(["none", "layer", "rms"]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    one, other = layer(outputs, 4 * four), layer(outputs + 3, 4 * four, biased=False)
    residual, weight, bias = torch.randn(rows, 2 * outputs + 3), *torch.randn(2, 2 * outputs + 3)
    tokens = ops.finish_rows(torch.randn(rows, 4 * four), *NOTHING, ["tokens"], "float")
    want = torch.cat([one(floats_of(*tokens)), other(floats_of(*tokens))], -1)
    total = POSTS[post](want) + residual.double()
    out = total
    if norm == "layer":
        out = functional.layer_norm(total, total.shape[1:], weight.double(), bias.double(), 1e-5)
    elif norm == "rms":
        out = functional.rms_norm(total, total.shape[1:], weight.double(), 1e-5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        behind = (post, residual, norm, weight, bias if norm == "layer" else None, 1e-5)
        made = ops.linear_tokens(*tokens, *operands([one, other]), *behind, ["sum", "out", "tokens"], backend)
    finally:
        torch.set_num_threads(before)
    assert [tuple(result.shape) for result in made] == [(rows, 2 * outputs + 3)] * 3 + [(rows,)] * 2
    assert apart(made[0], total) < 2e-6
    assert apart(made[1], out) < 1e-4
    steps = made[3].double().amax()
    assert (floats_of(*made[2:]) - out).abs().max() <= 0.51 * steps + 1e-4 * out.abs().max()


@each_backend
def test_leading_axes_and_no_rows(backend):
    one = layer(12, 16)
    for shape in ((2, 3), (0,), (1, 0, 2), ()):
        tokens = ops.finish_rows(torch.randn(*shape, 16), *NOTHING, ["tokens"], backend)
        out, *made = ops.linear_tokens(*tokens, *operands([one]), *NOTHING, ["out", "tokens"], backend)
        assert [result.shape for result in (out, *made)] == [(*shape, 12), (*shape, 12), shape, shape]
        assert apart(out, one(floats_of(*tokens))) < 1e-6 if out.numel() else True


def test_features_that_no_panel_takes():
    one = layer(5, 7)
    tokens = ops.finish_rows(torch.randn(3, 7), *NOTHING, ["tokens"], "native")
    (out,) = ops.linear_tokens(*tokens, *operands([one]), *NOTHING, ["out"], "native")
    assert apart(out, one(floats_of(*tokens))) < 1e-6


def test_rows_that_are_zero_infinite_or_no_numbers():
    values = torch.zeros(4, 16)
    values[1, 3], values[2, 5] = float("inf"), float("nan")
    one = layer(8, 16)
    tokens = ops.finish_rows(values, *NOTHING, ["tokens"], "native")
    (out,) = ops.linear_tokens(*tokens, *operands([one]), *NOTHING, ["out"], "native")
    # What is wrong in one row stays there.
    assert torch.allclose(out[0], one.bias, atol=1e-6)
    assert torch.allclose(out[3], one.bias, atol=1e-6)


def test_the_bytes_of_the_whole_chain_are_what_the_reference_says():
    torch.manual_seed(0)
    values, one = torch.randn(9, 32), layer(24, 32)
    for backend in ("native", "onednn", "int_mm", "float"):
        result = ops.linear_dynamic(values, *operands([one]), backend)
        assert apart(result, one(reference.tokens(values))) < 1e-6


def test_types_without_data_agree_with_the_run():
    one = layer(8, 16)
    tokens = ops.finish_rows(torch.randn(3, 16), *NOTHING, ["tokens"], "native")
    given = (*tokens, *operands([one]), *NOTHING, ["sum", "out", "tokens"], "native")
    torch.library.opcheck(ops.linear_tokens.default, given, test_utils=("test_schema", "test_faketensor"))
    given = (torch.randn(2, 3, 16), *NOTHING, ["out", "tokens"], "native")
    torch.library.opcheck(ops.finish_rows.default, given, test_utils=("test_schema", "test_faketensor"))
