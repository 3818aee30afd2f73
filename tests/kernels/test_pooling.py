"""Maxima of bytes are those of torch in floats."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress import kernels
from fxcompress.kernels import pooling
from fxcompress.kernels.native import operators

assert kernels.pooling
ops = torch.ops.fxcompress


@pytest.mark.parametrize("native", [True, False])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_max_pool(native, data):
    torch.manual_seed(data.draw(st.integers(0, 99)))
    channels = data.draw(st.sampled_from([1, 3, 64, 70, 130]))
    kernel, stride = ([data.draw(st.integers(1, 4)) for _ in range(2)] for _ in range(2))
    padding = [data.draw(st.integers(0, size // 2)) for size in kernel]
    dilation = [data.draw(st.integers(1, 2)) for _ in range(2)]
    image = torch.randint(0, 256, (2, channels, 11, 13), dtype=torch.uint8)
    if data.draw(st.booleans()):
        image = image.contiguous(memory_format=torch.channels_last)
    want = torch.max_pool2d(image.double(), kernel, stride, padding, dilation)
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(pooling, "available", lambda name: False)
        made = ops.max_pool_u8(image, kernel, stride, padding, dilation)
    assert made.dtype == torch.uint8
    assert torch.equal(made.double(), want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("in_python", [False, True])
def test_a_convolution_that_is_pooled(batch, threads, in_python):
    torch.manual_seed(0)
    weight, scales, bias = torch.randint(-127, 128, (20, 3, 5, 3)).char(), torch.rand(20) / 64, torch.randn(20)
    image = torch.randint(0, 256, (batch, 3, 19, 23)).byte()
    geometry, window = ([2, 1], [2, 1], [1, 1]), ([3, 2], [2, 2], [1, 0], [1, 1])
    wide = weight * scales.double().view(-1, 1, 1, 1)
    floats = torch.conv2d((image.double() - 9) * 0.05, wide, bias.double(), *geometry)
    want = (torch.max_pool2d(floats.relu(), *window) / 0.7 + 3).clamp(0, 255)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    operators.use(not in_python)
    try:
        arguments = (image, 0.05, 9, weight, scales, bias, *geometry, 1, "relu", 0.7, 3, *window, "native")
        made = ops.conv_pool_static(*arguments)
    finally:
        torch.set_num_threads(before)
        operators.use(True)
    assert made.dtype == torch.uint8
    assert float((made.double() - want).abs().max()) <= 0.51
    torch.library.opcheck(ops.conv_pool_static.default, arguments, test_utils=("test_schema", "test_faketensor"))


def test_the_operator_keeps_the_rules_of_operators():
    image = torch.randint(0, 256, (2, 5, 9, 8), dtype=torch.uint8)
    arguments = (image, [3, 2], [2, 2], [1, 0], [1, 1])
    torch.library.opcheck(ops.max_pool_u8.default, arguments, test_utils=("test_schema", "test_faketensor"))
