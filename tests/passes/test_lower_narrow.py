"""`lower{floats=bf16}`: which layers are calculated in bfloat16, how near that is, and what flows between them."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import operations
from torch import nn

import fxcompress as fxc
from fxcompress.kernels import narrow
from fxcompress.kernels.backends import VARIABLE, read_again
from fxcompress.lowering import choosing_narrow

NARROW = "lower{floats=bf16 measure=false}"
needs_bf16 = pytest.mark.skipif(not narrow.has_bf16(), reason="no bfloat16 on this processor")


class Net(nn.Module):
    """Convolutions of one and two axes with what stands behind them, a view, and linears that share what they read."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.Conv1d(16, 8, 3)
        self.q, self.k = nn.Linear(34, 32), nn.Linear(34, 32, bias=False)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 8)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        x = self.c(x.view(x.size(0), 16, -1))
        x = torch.tanh(self.q(x)) * self.k(x)
        return self.down(nn.functional.gelu(self.up(x)))


def net():
    torch.manual_seed(0)
    return Net().eval(), torch.randn(2, 3, 8, 8)


def decibels(want, have):
    return float(20 * torch.log10(want.double().norm() / (want.double() - have.double()).norm()))


@needs_bf16
def test_layers_stay_near_and_flow_in_bfloat16(tmp_path):
    model, x = net()
    result = fxc.compress(model, (x,), NARROW)
    found = operations(result.module)
    assert found.count("fxcompress.conv_bf16") == 3
    assert found.count("fxcompress.linear_bf16") == 4
    # The image, the view, and the product: from a to b, from c to q and k, and from up to down it stays narrow.
    assert found.count("to") == 3
    assert not {"relu", "gelu", "linear", "conv2d", "conv1d"} & set(found)
    other = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        want, made = model(other), result.module(other)
        assert made.dtype == torch.float32
        assert 40 < decibels(want, made) < 90
        assert torch.equal(copy.deepcopy(result.module)(other), made)
        result.save(tmp_path / "m.fxc")
        assert torch.equal(fxc.load(tmp_path / "m.fxc").module(other), made)
    assert len(result.stages[0].details["narrow"]) == 7
    assert any(note.endswith("calculated in bfloat16") for note in result.stages[0].notes)


@needs_bf16
@pytest.mark.parametrize(
    "text", ["quantize{scheme=w8a16}", "quantize{scheme=w8a8 ignore=a,up}", "quantize{scheme=bf16}"]
)
def test_with_quantized_layers(text):
    model, x = net()
    quantized, lowered = (fxc.compress(model, (x,), one) for one in (text, f"{text},{NARROW}"))
    with torch.no_grad():
        assert decibels(quantized.module(x), lowered.module(x)) > 33
    details = lowered.stages[1].details
    layers = {name for made in details["narrow"].values() for name in made["layers"]}
    assert layers
    assert not layers & set(details["held"])
    assert not layers & {name for made in details["lowered"].values() for name in made["layers"]}


@pytest.mark.parametrize("text", ["lower", "lower{floats=bf16 measure=false}"])
def test_a_table_of_bfloat16_is_not_widened_as_a_whole(text):
    torch.manual_seed(0)
    table, ids = nn.Embedding(50, 8), torch.tensor([[1, 7, 7]])
    result = fxc.compress(table, (ids,), f"quantize{{scheme=bf16}},{text}")
    assert operations(result.module) == ["embedding", "to"]
    assert torch.equal(result.module(ids), table(ids).bfloat16().float())


@needs_bf16
def test_integers_of_convolutions_are_not_kept_as_floats():
    model, x = net()
    found = operations(fxc.compress(model, (x,), f"quantize,{NARROW}").module)
    assert "fxcompress.held_channels" not in found


@needs_bf16
@pytest.mark.parametrize("faster", ["bf16", "floats"])
def test_only_what_is_faster(monkeypatch, faster):
    monkeypatch.setattr(
        choosing_narrow, "interleaved", lambda calls: {name: 1.0 if name == faster else 5.0 for name in calls}
    )
    choosing_narrow._measure.cache_clear()
    model, x = net()
    result = fxc.compress(model, (x,), "lower{floats=bf16 ignore=q}")
    choosing_narrow._measure.cache_clear()
    assert len(result.stages[0].details["narrow"]) == (6 if faster == "bf16" else 0)
    assert operations(result.module).count("linear") == (1 if faster == "bf16" else 4)


@pytest.mark.parametrize("saved", [False, True])
def test_where_there_is_none_all_is_float32_and_said(monkeypatch, saved):
    model, x = net()
    before = fxc.compress(model, (x,), NARROW) if saved else None
    monkeypatch.setenv(VARIABLE, "onednn")
    read_again()
    try:
        if before is None:
            result = fxc.compress(model, (x,), NARROW)
            assert any("does not multiply bfloat16" in note for note in result.stages[0].notes)
            assert result.stages[0].details["narrow"] == {}
        else:
            with torch.no_grad():
                assert decibels(model(x), before.module(x)) > 40
    finally:
        monkeypatch.undo()
        read_again()
