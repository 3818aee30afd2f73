"""Stored integers that are kept as floats."""

from __future__ import annotations

import torch

ops = torch.ops.fxcompress


def test_transposed_channels_against_float64():
    torch.manual_seed(0)
    integers, scales = torch.randint(-127, 128, (3, 5), dtype=torch.int8), torch.rand(5)
    zeros = torch.randint(-9, 9, (5,))
    for given in (None, zeros):
        want = (integers.double() - (0 if given is None else given)).t() * scales.double()[:, None]
        made = ops.held_channels(integers, scales, given, 0, True)
        assert made.is_contiguous()
        torch.testing.assert_close(made.double(), want, rtol=1e-6, atol=0)
        assert ops.held_channels(integers, scales, given, 0, True) is made
    integers.zero_()
    assert not ops.held_channels(integers, scales, None, 0, True).any()
    torch.library.opcheck(ops.held_channels.default, (integers, scales, None, 0, True), test_utils="test_schema")
