"""Native linears of bytes whose weights are zero in blocks: only what is not zero is packed, and nothing changes."""

from __future__ import annotations

import pytest
import torch

from fxcompress.kernels.backends import available
from fxcompress.kernels.native import weights

pytestmark = pytest.mark.skipif(not available("native"), reason="no native kernels on this machine")


def block_sparse(outputs, features, block, density):
    kept = torch.rand(-(-outputs // block[0]), -(-features // block[1])) < density
    kept = kept.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:outputs, :features]
    return torch.randint(-127, 128, (outputs, features), dtype=torch.int8) * kept


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 9, 40])
@pytest.mark.parametrize(
    ("outputs", "block", "vectors"), [(96, (32, 4), 2), (80, (32, 4), 1), (100, (16, 8), 1), (7, (7, 4), 1)]
)
def test_kept_fours_against_float64(threads, rows, outputs, block, vectors):
    torch.manual_seed(rows + outputs)
    weight, scales, bias = block_sparse(outputs, 64, block, 0.3), torch.rand(outputs) / 100, torch.randn(outputs)
    kept = weights.kept_of(weight)
    assert kept is not None
    assert kept.vectors == vectors
    assert kept.panels.numel() < -(-outputs // 16) * 16 * 64
    values = torch.randint(0, 256, (rows, 64), dtype=torch.uint8)
    want = (values.double() - 9) * 0.02 @ (weight.double() * scales.double()[:, None]).t() + bias
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = torch.ops.fxcompress.linear_static(
            values, 0.02, 9, [weight], [scales], [bias], "none", None, 0, "native"
        )
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(made.double(), want, rtol=1e-5, atol=1e-5)


def test_all_zero_and_mostly_full():
    values, scales = torch.randint(0, 256, (5, 16), dtype=torch.uint8), torch.ones(32)
    nothing = torch.zeros(32, 16, dtype=torch.int8)
    linear = torch.ops.fxcompress.linear_static
    assert not linear(values, 1.0, 3, [nothing], [scales], [None], "none", None, 0, "native").any()
    assert weights.kept_of(torch.ones(32, 16, dtype=torch.int8)) is None
    # Zeros here and there leave nothing out.
    assert weights.kept_of(torch.ones(32, 16, dtype=torch.int8) * (torch.arange(16) % 2 == 0)) is None
