"""The linears give what the same integers give in float64, with each backend, for any shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import BACKENDS, close, layer, operands, problems

from fxcompress import kernels
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.kernels import reference

assert kernels.linear
ops = torch.ops.fxcompress
quick = settings(max_examples=25, deadline=None)
each_backend = pytest.mark.parametrize("backend", BACKENDS)
POSTS = {
    "none": lambda values: values,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda values: torch.nn.functional.gelu(values, approximate="tanh"),
}


def by_rows(values):
    """Quantized row by row and back, by the operators of the pattern."""
    decomposed = quantized_decomposed()
    scales, zeros = ops.choose_token_range(values)
    integers = decomposed.quantize_per_token(values, scales, zeros, -128, 127, torch.int8)
    return decomposed.dequantize_per_token(integers, scales, zeros, -128, 127, torch.int8, torch.float64), scales


@each_backend
@quick
@given(problem=problems())
def test_dynamic(backend, problem):
    values, layers = problem
    result = ops.linear_dynamic(values, *operands(layers), backend)
    quantized, _ = by_rows(values)
    want = torch.cat([one(quantized) for one in layers], -1)
    if not close(result, want, values, layers, 1e-6):
        # A number in the middle between two steps may fall to either side: one step of one feature.
        assert close(result, want, values, layers, 1.01 / 255)
        assert ties(values)


def ties(values):
    """Whether a number lies so near to the middle between two steps that the last bit decides."""
    _, scales = by_rows(values)
    steps = values.double() / scales
    low = values.double().amin(-1, keepdim=True).clamp(max=0) / scales
    places = [(one - one.floor() - 0.5).abs().min() for one in (steps, low)]
    return float(min(places)) < 1e-4


@quick
@given(problem=problems())
def test_the_reference_quantizes_rows_as_the_pattern_does(problem):
    values, _ = problem
    quantized, scales = by_rows(values)
    difference = (reference.tokens(values) - quantized).abs()
    assert bool((difference <= 1e-6 * values.abs().max()).all()) or ties(values)
    assert bool((difference <= scales * 1.01).all())


@each_backend
@quick
@given(problem=problems())
def test_weight_only(backend, problem):
    values, layers = problem
    result = ops.linear_weight_only(values, *operands(layers), backend)
    want = torch.cat([one(values) for one in layers], -1)
    # Half a step of the 16-bit numbers, each row with its own.
    assert close(result, want, values, layers, 1e-6 if backend == "float" else 0.5 / 32639 * values.shape[-1] + 1e-6)


@each_backend
@pytest.mark.parametrize("post", POSTS)
@quick
@given(problem=problems(), scale=st.sampled_from([0.01, 0.5]), zero=st.sampled_from([0, 7, 128, 255]))
def test_static(backend, post, problem, scale, zero):
    values, layers = problem
    integers = ops.quantize_u8(values, scale, zero)
    floats = (integers.double() - zero) * scale
    want = torch.cat([POSTS[post](one(floats)) for one in layers], -1)
    arguments = (integers, scale, zero, *operands(layers), post)
    assert close(ops.linear_static(*arguments, None, 0, backend), want, floats, layers, 1e-5)
    output = max(float(want.abs().max()), 1e-3) / 100
    result = ops.linear_static(*arguments, output, 100, backend)
    assert result.dtype == torch.uint8
    steps = (want / output + 100).clamp(0, 255)
    assert float((result.double() - steps).abs().max()) <= 0.51


@quick
@given(problem=problems(), scale=st.sampled_from([0.003, 0.5]), zero=st.sampled_from([0, 7, 128, 255]))
def test_quantize_is_that_of_the_pattern(problem, scale, zero):
    values, _ = problem
    want = quantized_decomposed().quantize_per_tensor(values, scale, zero, 0, 255, torch.uint8)
    assert torch.equal(ops.quantize_u8(values, scale, zero), want)


@pytest.mark.parametrize("backend", ["native", "float"])
@pytest.mark.parametrize("threads", [1, 2])
@quick
@given(data=st.data())
def test_groups(backend, threads, data):
    """Weights of 4 bits, and of more, in groups that end in the middle of what a kernel takes at a time."""
    rows, outputs, groups = (data.draw(st.integers(1, top)) for top in (20, 70, 9))
    group, low, high = data.draw(st.sampled_from([(16, -8, 8), (2, -8, 8), (5, -8, 8), (32, -128, 128)]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    weight = torch.randint(low, high, (outputs, groups * group), dtype=torch.int8)
    scales = torch.rand(outputs, groups)
    zeros = torch.randint(-8, 8, (outputs, groups), dtype=torch.int8) if data.draw(st.booleans()) else None
    bias = torch.randn(outputs) if data.draw(st.booleans()) else None
    values = torch.randn(rows, groups * group)
    shift = 0 if zeros is None else zeros.repeat_interleave(group, 1).double()
    floats = (weight.double() - shift) * scales.repeat_interleave(group, 1).double()
    want = values.double() @ floats.t() + (0 if bias is None else bias.double())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = ops.linear_groups(values, weight, scales, zeros, group, bias, backend)
    finally:
        torch.set_num_threads(before)
    assert float((result - want).abs().max()) <= 1e-5 * float((values.double().abs() @ floats.abs().t()).max() + 1)


@each_backend
@pytest.mark.parametrize("rows", [1, 6])
def test_rows_of_a_transposed_tensor(backend, rows):
    one, values = layer(7, 12), torch.randn(12, rows).t()
    for called in (ops.linear_dynamic, ops.linear_weight_only):
        assert torch.equal(
            called(values, *operands([one]), backend), called(values.contiguous(), *operands([one]), backend)
        )


@pytest.mark.parametrize("shape", [(3,), (2, 3), (), (0, 2)])
def test_rows_of_a_table_are_those_of_the_whole_table(shape):
    weight, scales = torch.randint(-127, 128, (9, 5), dtype=torch.int8), torch.rand(9)
    indices = torch.randint(0, 9, shape)
    whole = quantized_decomposed().dequantize_per_channel(weight, scales, None, 0, -127, 127, torch.int8)
    assert torch.equal(ops.embedding_rows(indices, weight, scales), torch.nn.functional.embedding(indices, whole))


@each_backend
def test_no_rows(backend):
    one, values = layer(7, 12), torch.randn(0, 3, 12)
    assert ops.linear_dynamic(values, *operands([one]), backend).shape == (0, 3, 7)
    assert ops.linear_weight_only(values, *operands([one]), backend).shape == (0, 3, 7)
    integers = ops.quantize_u8(values, 0.1, 3)
    assert ops.linear_static(integers, 0.1, 3, *operands([one]), "relu", None, 0, backend).dtype == torch.float32
    assert ops.linear_static(integers, 0.1, 3, *operands([one]), "relu", 0.1, 0, backend).dtype == torch.uint8


@each_backend
def test_a_row_of_zeros(backend):
    one, values = layer(7, 12), torch.zeros(3, 12)
    for called in (ops.linear_dynamic, ops.linear_weight_only):
        torch.testing.assert_close(called(values, *operands([one]), backend), one.bias.expand(3, 7), rtol=0, atol=1e-4)


@each_backend
def test_extremes_of_every_row_stay_in_range(backend):
    """Ranges whose zero point is rounded up push the largest value beyond the last step, where it must be clamped."""
    one = layer(4, 3)
    values = torch.stack([torch.tensor([-low, 0.1, 1.0]) for low in torch.linspace(0, 2, 200)])
    result = ops.linear_dynamic(values, *operands([one]), backend)
    assert close(result, one(values), values, [one], 2 / 255)


def test_the_operators_keep_the_rules_of_operators():
    one, values = layer(7, 12), torch.randn(3, 12)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for called in (ops.linear_dynamic, ops.linear_weight_only):
        torch.library.opcheck(called.default, (values, *operands([one]), "onednn"), test_utils=checks)
    integers = ops.quantize_u8(values, 0.1, 3)
    for output in (None, 0.1):
        given = (integers, 0.1, 3, *operands([one]), "gelu", output, 0, "onednn")
        torch.library.opcheck(ops.linear_static.default, given, test_utils=checks)
    torch.library.opcheck(ops.quantize_u8.default, (values, 0.1, 3), test_utils=checks)


def test_a_bias_that_learns_gives_a_plain_result():
    one = layer(7, 12)
    one.bias = torch.nn.Parameter(one.bias)
    values = torch.randn(3, 12, requires_grad=True)
    for backend in BACKENDS:
        result = ops.linear_dynamic(values, *operands([one]), backend)
        assert close(result.detach(), one(values).detach(), values.detach(), [one], 1.01 / 255)
