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


POSTS = {
    "none": lambda values: values,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


@st.composite
def geometries(draw):
    pair = st.lists(st.integers(1, 2), min_size=2, max_size=2)
    padding = draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))
    some = [(1, 1), (1, 3), (1, 4), (1, 6), (1, 20), (2, 8), (4, 4), (3, 15), (2, 40)]
    groups, channels = draw(st.sampled_from(some))
    outputs = groups * draw(st.sampled_from([1, 2, 8, 20]))
    return (draw(pair), padding, draw(pair), groups), channels, outputs


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(
    problem=geometries(),
    posts=st.tuples(st.sampled_from(sorted(POSTS)), st.sampled_from(["none", "relu", "silu"])),
    zero=st.sampled_from([0, 5, 128, 255]),
    kernel=st.sampled_from([1, 2, 3]),
    size=st.sampled_from([(9, 8), (7, 37)]),
    last=st.booleans(),
    biased=st.booleans(),
    added=st.sampled_from(["nothing", "floats", "bytes"]),
    seed=st.integers(0, 99),
)
def test_against_float64(backend, problem, posts, zero, kernel, size, last, biased, added, seed):
    torch.manual_seed(seed)
    geometry, channels, outputs = problem
    weight = torch.randint(-127, 128, (outputs, channels // geometry[3], kernel, kernel), dtype=torch.int8)
    scales, bias = torch.rand(outputs) / 64 + 1e-4, torch.randn(outputs) if biased else None
    image = torch.randint(0, 256, (2, channels, *size), dtype=torch.uint8)
    image = image.contiguous(memory_format=torch.channels_last) if last else image
    floats, wide = (image.double() - zero) * 0.02, weight.double() * scales.double().view(-1, 1, 1, 1)
    bias64 = None if bias is None else bias.double()
    plain = POSTS[posts[0]](torch.conv2d(floats, wide, bias64, *geometry))
    residual = {"nothing": None, "floats": torch.randn(plain.shape)}.get(added)
    shift = 0.0 if residual is None else residual.double()
    if added == "bytes":
        residual = torch.randint(0, 256, plain.shape, dtype=torch.uint8)
        shift = (residual.double() - 7) * 0.03
    want = POSTS[posts[1]](plain + shift)
    arguments = (image, 0.02, zero, weight, scales, bias, *geometry, posts[0], residual, 0.03, 7, posts[1])
    result = ops.conv_static(*arguments, None, 0, backend)
    largest = float(torch.conv2d(floats.abs(), wide.abs(), bias64, *geometry).abs().max()) + 1
    assert result.dtype == torch.float32
    assert float((result.double() - want).abs().max()) <= 1e-5 * largest
    output = max(float(want.abs().max()), 1e-3) / 100
    integers = ops.conv_static(*arguments, output, 100, backend)
    assert integers.dtype == torch.uint8
    slack = 0.51 + 1e-5 * largest / output
    assert float((integers.double() - (want / output + 100).clamp(0, 255)).abs().max()) <= slack


@pytest.mark.parametrize("backend", BACKENDS)
def test_windows_outside_of_the_image(backend):
    weight, scales = torch.randint(-127, 128, (4, 1, 1, 2), dtype=torch.int8), torch.rand(4)
    image = torch.randint(0, 256, (1, 4, 5, 5), dtype=torch.uint8)
    want = torch.conv2d((image.double() - 9) * 0.1, weight * scales.double().view(-1, 1, 1, 1), None, 1, [1, 1], 1, 4)
    for _ in range(3):
        # What was there before must not show through.
        torch.full((want.numel(),), 1e6)
        made = ops.conv_static(
            image,
            0.1,
            9,
            weight,
            scales,
            None,
            [1, 1],
            [1, 1],
            [1, 1],
            4,
            "none",
            None,
            0.0,
            0,
            "none",
            None,
            0,
            backend,
        )
        assert float((made - want).abs().max()) < 1e-3


# The larger ones are calculated two and two.
@pytest.mark.parametrize("shape", [(3, 64, 17, 23), (5, 64, 60, 61)])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_pixels_and_channels(threads, shape):
    torch.manual_seed(0)
    weight, scales = torch.randint(-127, 128, (100, 64, 3, 3), dtype=torch.int8), torch.rand(100) / 100
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    want = torch.conv2d((image.double() - 3) * 0.1, weight * scales.double().view(-1, 1, 1, 1), None, 2, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        geometry = ([2, 2], [1, 1], [1, 1], 1)
        after = ("none", None, 0.0, 0, "none", None, 0, "native")
        made = ops.conv_static(image, 0.1, 3, weight, scales, None, *geometry, *after)
    finally:
        torch.set_num_threads(before)
    assert float((made - want).abs().max() / want.abs().max()) < 1e-6


def test_the_operator_keeps_the_rules_of_operators():
    weight = torch.randint(-127, 128, (8, 4, 3, 3), dtype=torch.int8)
    image = torch.randint(0, 256, (2, 4, 9, 8), dtype=torch.uint8)
    geometry, after = ([1, 1], [0, 0], [1, 1], 1), ("relu", None, 0.0, 0, "none", None, 0)
    for backend in BACKENDS:
        arguments = (image, 0.02, 3, weight, torch.rand(8), None, *geometry, *after, backend)
        torch.library.opcheck(ops.conv_static.default, arguments, test_utils=("test_schema", "test_faketensor"))
