"""The convolution gives what the same integers give in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import BACKENDS

from fxcompress import kernels

assert kernels.convolution
ops = torch.ops.fxcompress


@st.composite
def geometries(draw):
    pair = st.lists(st.integers(1, 2), min_size=2, max_size=2)
    padding = draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))
    return draw(pair), padding, draw(pair), draw(st.sampled_from([1, 1, 2, 4]))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=30, deadline=None)
@given(
    geometry=geometries(),
    post=st.sampled_from(["none", "relu", "gelu"]),
    zero=st.sampled_from([0, 5, 128, 255]),
    kernel=st.sampled_from([1, 3]),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_against_float64(backend, geometry, post, zero, kernel, biased, seed):
    torch.manual_seed(seed)
    stride, padding, dilation, groups = geometry
    weight = torch.randint(-127, 128, (8, 4 // groups, kernel, kernel), dtype=torch.int8)
    scales, bias = torch.rand(8) / 64 + 1e-4, torch.randn(8) if biased else None
    image = torch.randint(0, 256, (2, 4, 9, 8), dtype=torch.uint8)
    floats, wide = (image.double() - zero) * 0.02, weight.double() * scales.double().view(-1, 1, 1, 1)
    bias64 = None if bias is None else bias.double()
    want = torch.conv2d(floats, wide, bias64, stride, padding, dilation, groups)
    want = {"none": want, "relu": want.relu(), "gelu": torch.nn.functional.gelu(want)}[post]
    arguments = (image, 0.02, zero, weight, scales, bias, stride, padding, dilation, groups, post)
    result = ops.conv_static(*arguments, None, 0, backend)
    largest = float(torch.conv2d(floats.abs(), wide.abs(), bias64, stride, padding, dilation, groups).abs().max()) + 1
    assert result.dtype == torch.float32
    assert float((result.double() - want).abs().max()) <= 1e-5 * largest
    output = max(float(want.abs().max()), 1e-3) / 100
    integers = ops.conv_static(*arguments, output, 100, backend)
    assert integers.dtype == torch.uint8
    assert float((integers.double() - (want / output + 100).clamp(0, 255)).abs().max()) <= 0.51


def test_the_operator_keeps_the_rules_of_operators():
    weight = torch.randint(-127, 128, (8, 4, 3, 3), dtype=torch.int8)
    image = torch.randint(0, 256, (2, 4, 9, 8), dtype=torch.uint8)
    arguments = (image, 0.02, 3, weight, torch.rand(8), None, [1, 1], [0, 0], [1, 1], 1, "relu", None, 0, "onednn")
    torch.library.opcheck(ops.conv_static.default, arguments, test_utils=("test_schema", "test_faketensor"))
