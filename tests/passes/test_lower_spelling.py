"""Products that are spelled in another way than as linears are lowered too, and give what the quantized graph gives."""

from __future__ import annotations

import pytest
import torch
from nets import operations
from torch import nn
from torch.nn import functional

import fxcompress as fxc

X = torch.linspace(-3, 3, 32 * 64).view(32, 64).sin() * 2


class Spelled(nn.Module):
    """An `addmm` as of GPT-2, a product with a weight on the right, and a linear whose bias is calculated."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(64, 128) / 8)
        self.bias = nn.Parameter(torch.randn(128))
        self.second = nn.Parameter(torch.randn(128, 64) / 8)
        self.third = nn.Parameter(torch.randn(96, 64) / 8)
        self.halves = nn.ParameterList([torch.randn(48), torch.randn(48)])

    def forward(self, x):
        hidden = torch.relu(torch.addmm(self.bias, x, self.first)) @ self.second
        return functional.linear(hidden.view(4, -1, 64), self.third, torch.cat(list(self.halves)))


def lowered(text):
    quantized = fxc.compress(Spelled(), (X,), text)
    return quantized, fxc.compress(Spelled(), (X,), f"{text},lower{{measure=false}}")


@pytest.mark.parametrize("scheme", ["w8a8", "w8a16"])
def test_all_become_kernels_and_give_the_same(scheme):
    quantized, result = lowered(f"quantize{{scheme={scheme}}}")
    assert result.stages[-1].statistics["layers"] == 3
    assert not any("dequantize" in name for name in operations(result.module))
    want, made = (one.module(X).detach() for one in (quantized, result))
    assert float((made - want).norm() / want.norm()) < 5e-3
    original = Spelled()(X).detach()
    assert float((made - original).norm() / original.norm()) < 0.02


def test_what_is_stored_stays_as_it_is():
    quantized, result = lowered("quantize{scheme=w8a8}")
    before, after = quantized.module.state_dict(), result.module.state_dict()
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_new_integers_are_seen():
    _, result = lowered("quantize{scheme=w8a8}")
    before = result.module(X).detach()
    with torch.no_grad():
        result.module.get_buffer("second").neg_()
        result.module.get_parameter("bias").zero_()
    assert not torch.allclose(result.module(X), before)
