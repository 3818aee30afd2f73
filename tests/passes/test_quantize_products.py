"""Products of two activations, rounded by static ranges: against float64 by hand, and left in floats by `lower`."""

from __future__ import annotations

import pytest
import torch
from nets import operations
from torch import nn

import fxcompress as fxc

TEXT = "quantize{scheme=w8a8-static products=true observer=minmax}"


class Attention(nn.Module):
    """Attention that is spelled out; in one call where it is `whole`."""

    def __init__(self, whole=False):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.whole = whole

    def forward(self, x):
        q, k, v = (one(x).unflatten(-1, (2, 8)).transpose(1, 2) for one in (self.q, self.k, self.v))
        if self.whole:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(2, 3) / 8**0.5, -1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


@pytest.fixture
def data():
    torch.manual_seed(0)
    return [torch.randn(2, 6, 16) for _ in range(4)]


def rounded(values, facts):
    """Values in the steps that the pass tells of."""
    steps = (values.double() / facts["scale"]).round() + facts["zero"]
    return (steps.clamp(0, 255) - facts["zero"]) * facts["scale"]


@pytest.mark.parametrize("operator", [torch.matmul, torch.bmm, lambda a, b: torch.baddbmm(a[:, :, :1], a, b)])
def test_both_operands_are_rounded(operator, data):
    class Product(nn.Module):
        def forward(self, a, b):
            return operator(torch.tanh(a), torch.sin(b).transpose(1, 2))

    a, b = data[:2]
    batches = [(a, b), tuple(data[2:])]
    result = fxc.compress(Product(), (a, b), TEXT, calibration=batches)
    facts = result.stages[0].details["activations"]
    assert sorted(facts) == ["tanh", "transpose"]
    for name, seen in (("tanh", [torch.tanh(one) for one, _ in batches]), ("transpose", [b.sin() for _, b in batches])):
        every = torch.cat(seen).double()
        assert facts[name]["scale"] == pytest.approx(float(every.abs().max()) / 127, rel=1e-5)
        assert facts[name]["zero"] == 128
    left, right = rounded(torch.tanh(a), facts["tanh"]), rounded(b.sin(), facts["transpose"]).transpose(1, 2)
    want = left @ right
    if "baddbmm" in str(operations(result.module)):
        want = torch.tanh(a).double()[:, :, :1] + want
    assert float((result.module(a, b).double() - want).abs().max()) < 1e-5


def test_attention_that_is_spelled_out(data):
    result = fxc.compress(Attention().eval(), (data[0],), TEXT, calibration=data)
    assert operations(result.module).count("quantized_decomposed.quantize_per_tensor") == 6
    assert "both operands of 2 products of activations are rounded" in result.stages[0].notes
    plain = fxc.compress(Attention().eval(), (data[0],), TEXT.replace("products=true ", ""), calibration=data)
    assert operations(plain.module).count("quantized_decomposed.quantize_per_tensor") == 2
    left = fxc.compress(Attention().eval(), (data[0],), TEXT.replace("}", " ignore=matmul_1}"), calibration=data)
    assert "both operands of 1 product of activations are rounded" in left.stages[0].notes


def test_what_is_never_negative_has_all_its_integers(data):
    facts = fxc.compress(Attention().eval(), (data[0],), TEXT, calibration=data).stages[0].details["activations"]
    assert facts["softmax"]["zero"] == 0
    # Half a step above, at most, for the largest probability.
    assert 1 / 8 / 255 < facts["softmax"]["scale"] <= 1 / 255


def test_what_is_not_rounded_is_said(data):
    notes = fxc.compress(Attention(whole=True).eval(), (data[0],), TEXT, calibration=data).stages[0].notes
    assert any("attention in one call, whose products are not rounded" in note for note in notes)
    notes = fxc.compress(nn.Linear(16, 4), (data[0],), TEXT, calibration=data).stages[0].notes
    assert "there is no product of two activations" in notes


def test_outliers_stay_of_one_range_where_products_read_them(data):
    """A token of its own range would not be what runtimes multiply."""
    text = TEXT.replace("}", " outliers=token}")
    large = [one * torch.logspace(-3, 3, 6)[:, None] for one in data]
    found = operations(fxc.compress(Attention().eval(), (large[0],), text, calibration=large).module)
    assert found.count("quantized_decomposed.quantize_per_tensor") >= 4


@pytest.mark.parametrize("scheme", ["w8a8-static", "w8a8", "w8a16"])
def test_lower_calculates_them_in_floats(scheme, data):
    text = TEXT.replace("w8a8-static", scheme)
    model = Attention().eval()
    with_products = fxc.compress(model, (data[0],), f"{text},lower{{measure=false}}", calibration=data)
    without = fxc.compress(
        model, (data[0],), f"{text.replace('products=true ', '')},lower{{measure=false}}", calibration=data
    )
    assert sorted(operations(with_products.module)) == sorted(operations(without.module))
    with torch.no_grad():
        assert torch.equal(with_products.module(data[1]), without.module(data[1]))
    stage = with_products.stages[1]
    assert stage.details["unrounded"] == ["matmul", "matmul_1"]
    assert any(
        note.startswith("%matmul, %matmul_1: products of activations, calculated in floats") for note in stage.notes
    )
