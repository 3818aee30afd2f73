"""What stands behind a dynamic linear goes into its call, and the graph gives what it gave."""

from __future__ import annotations

import pytest
import torch
from nets import operations
from quantized_nets import near
from torch import nn

import fxcompress as fxc
from fxcompress.kernels.backends import available, why_missing

pytestmark = pytest.mark.skipif(not available("native"), reason=why_missing("native"))
QUANTIZE, LOWER = "quantize{scheme=w8a8}", "quantize{scheme=w8a8},lower{measure=false}"


class Layer(nn.Module):
    """A layer of an encoder, with its norms behind the residuals or before what they go around."""

    def __init__(self, before, activation):
        super().__init__()
        self.before, self.activation = before, activation
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down = nn.Linear(32, 48), nn.Linear(48, 32)
        self.first, self.second = nn.LayerNorm(32), nn.LayerNorm(32)
        self.dropout = nn.Dropout(0.1)

    def attend(self, x):
        q, k, v = (one(x).view(x.shape[0], -1, 4, 8).transpose(1, 2) for one in (self.q, self.k, self.v))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def spread(self, x):
        return self.down(self.activation(self.up(x)))

    def forward(self, x):
        if self.before:
            x = x + self.dropout(self.attend(self.first(x)))
            return x + self.dropout(self.spread(self.second(x)))
        x = self.first(x + self.dropout(self.attend(x)))
        return self.second(self.dropout(self.spread(x)) + x)


def compare(model, x, tolerance=2e-2):
    """Compress with and without lowering, compare on other inputs, and return the lowered result."""
    plain, lowered = fxc.compress(model, (x,), QUANTIZE), fxc.compress(model, (x,), LOWER)
    other = torch.randn_like(x)
    with torch.no_grad():
        # A result that is a hair different may be rounded to the next step in the layers behind.
        assert near(lowered.module(other), plain.module(other), tolerance)
    return lowered


@pytest.mark.parametrize("activation", [nn.functional.gelu, nn.functional.silu, torch.relu])
@pytest.mark.parametrize("before", [False, True])
def test_encoders(before, activation):
    torch.manual_seed(0)
    model = nn.Sequential(Layer(before, activation), Layer(before, activation)).eval()
    found = operations(compare(model, torch.randn(2, 6, 32)).module)
    for word in ("gelu", "silu", "relu", "add", "layer_norm", "dropout", "quantize", "linear_dynamic"):
        assert not any(word in one for one in found), word
    # Of each layer the merged q, k, v, the projection, and the two others.
    assert found.count("fxcompress.linear_tokens") == 8
    # The input, or its norm, and what each attention gives.
    assert found.count("fxcompress.finish_rows") == 3


class Shared(nn.Module):
    """Results that others read too, and additions that cannot go into the call before."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        wide = self.a(x)
        added = self.b(torch.relu(wide)) + x[:, :1]
        return self.c(self.norm(added)) * 2 + wide, added


def test_what_others_read_stays():
    torch.manual_seed(0)
    result = compare_all(Shared().eval(), torch.randn(3, 5, 16))
    found = operations(result.module)
    assert "relu" in found
    assert found.count("add") == 2


def compare_all(model, x):
    plain, lowered = fxc.compress(model, (x,), QUANTIZE), fxc.compress(model, (x,), LOWER)
    other = torch.randn_like(x)
    with torch.no_grad():
        for one, want in zip(lowered.module(other), plain.module(other), strict=True):
            assert near(one, want, 2e-2)
    return lowered


class Twice(nn.Module):
    """The same value on both sides of an addition, and a residual that is calculated behind the linear."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        first = self.a(x)
        doubled = first + first
        second = self.b(doubled)
        later = torch.sin(x) * doubled
        return second + later


def test_a_residual_that_comes_later():
    torch.manual_seed(0)
    found = operations(compare(Twice().eval(), torch.randn(3, 16)).module)
    assert found.count("add") == 1
    assert found.index("sin") < len(found) - 1 - found[::-1].index("fxcompress.linear_tokens")


def test_saved_loaded_and_with_another_backend(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model, x = nn.Sequential(Layer(False, nn.functional.gelu), Layer(True, torch.relu)).eval(), torch.randn(2, 6, 32)
    result = fxc.compress(model, (x,), LOWER)
    result.save(tmp_path / "m.fxc")
    loaded = fxc.load(tmp_path / "m.fxc").module
    with torch.no_grad():
        want = result.module(x)
        assert torch.equal(loaded(x), want)
        monkeypatch.setattr("fxcompress.kernels.tokens.first_available", lambda *_: "float")
        assert near(loaded(x), want, 2e-2)
