"""What `close` allows: single numbers a step off, but no row that is another."""

from __future__ import annotations

import pytest
import torch

from fxcompress.pipeline.results import compared


def off(change):
    torch.manual_seed(0)
    want = torch.randn(1000, 64)
    got = want.clone()
    change(got)
    difference, allowed = compared(want, got, "close")
    return difference <= allowed


@pytest.mark.parametrize(
    ("change", "fine"),
    [
        (lambda got: got.mul_(1.001), True),
        (lambda got: got[::100, 3].add_(0.5), True),
        (lambda got: got[7].copy_(got[8].clone()), False),
        (lambda got: got[5, 5].add_(2), False),
        (lambda got: got.add_(torch.randn_like(got) * 0.2), False),
    ],
)
def test_close(change, fine):
    assert off(change) is fine


def test_exact_allows_no_single_number():
    want = torch.ones(1000)
    got = want.clone()
    got[3] += 1e-3
    difference, allowed = compared(want, got, "exact")
    assert difference > allowed
