"""Tokens are rounded by their own range, however small they are."""

from __future__ import annotations

import pytest
import torch
from kernel_cases import BACKENDS, layer, operands
from torch import nn

import fxcompress as fxc
from fxcompress.kernels import ranges

assert ranges
ops = torch.ops.fxcompress


def rows_of_all_sizes(features: int = 64) -> torch.Tensor:
    return torch.randn(12, features) * torch.logspace(-30, 3, 12)[:, None]


def test_the_range_is_that_of_the_token_with_zero():
    torch.manual_seed(0)
    rows = rows_of_all_sizes()
    rows[3], rows[5] = rows[3].abs(), -rows[5].abs()
    scales, zeros = ops.choose_token_range(rows)
    assert (scales.dtype, zeros.dtype, scales.shape, zeros.shape) == (torch.float64, torch.int64, (12, 1), (12, 1))
    for row, scale, zero in zip(rows.double().tolist(), scales.tolist(), zeros.tolist(), strict=True):
        least, most = min(0.0, *row), max(0.0, *row)
        assert scale[0] == pytest.approx((most - least) / 255, rel=1e-12)
        assert zero[0] == pytest.approx(-128 - least / scale[0], abs=0.5 + 1e-9)


def test_a_token_of_zeros_has_a_range():
    scales, zeros = ops.choose_token_range(torch.zeros(2, 3, 4))
    assert bool((scales > 0).all())
    assert bool(torch.isfinite(1 / scales.float()).all())
    assert zeros.tolist() == [[[-128]] * 3] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_kernels_round_tiny_tokens_as_well_as_others(backend):
    torch.manual_seed(0)
    rows, one = rows_of_all_sizes(), layer(48, 64, biased=False)
    for row in rows:
        made, want = ops.linear_dynamic(row[None], *operands([one]), backend), one(row[None])
        assert float((made.double() - want).norm() / want.norm()) < 0.03


def test_a_model_of_tiny_activations_stays_near():
    """torch's own choice of ranges gives zeros here: 0 dB."""
    torch.manual_seed(0)
    model, rows = nn.Linear(64, 48, bias=False), torch.randn(6, 64) * 1e-9
    want = model(rows).detach()
    for text in ("quantize{scheme=w8a8}", "quantize{scheme=w8a8},lower{measure=false}"):
        made = fxc.compress(model, (rows,), text).module(rows).detach()
        assert float((made - want).norm() / want.norm()) < 0.03
