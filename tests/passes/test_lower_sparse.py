"""Linears whose weights are mostly zero: which are lowered, to what, and what they give."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import apply, operations
from torch import nn

import fxcompress as fxc
from fxcompress.kernels import sparse as kernel
from fxcompress.lowering import sparse


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(sparse, "_known", {})


def masked(density):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(40, 48), nn.GELU(), nn.Linear(48, 40, bias=False)).eval()
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(torch.rand_like(layer.weight) < density)
    return net, torch.randn(2, 3, 40)


@pytest.mark.parametrize("form", kernel.FORMS[:-1])
def test_the_fastest_form_is_taken(monkeypatch, form):
    def took(calls):
        for call in calls.values():
            call()
        return {name: 10.0 if name == form else 90.0 for name in calls}

    monkeypatch.setattr(sparse, "interleaved", took)
    monkeypatch.setattr(sparse, "forms_here", lambda: (form, "dense"))
    net, x = masked(0.2)
    with torch.no_grad():
        # One feature that nobody reads, so that leaving it out is tried as well.
        net[0].weight[:, :4] = 0
        net[2].weight[:, :4] = 0
    result = fxc.compress(net, (x,), "lower")
    assert operations(result.module) == ["fxcompress.linear_sparse", "gelu", "fxcompress.linear_sparse"]
    assert [made["backend"] for made in result.stages[0].details["lowered"].values()] == [form] * 2
    want = copy.deepcopy(net).double()(x.double())
    torch.testing.assert_close(result.module(x).double(), want, rtol=1e-5, atol=1e-5)
    assert result.module.state_dict().keys() == net.state_dict().keys()


def test_dense_where_that_is_as_fast(monkeypatch):
    monkeypatch.setattr(sparse, "interleaved", lambda calls: dict.fromkeys(calls, 1.0))
    net, x = masked(0.2)
    module, context = apply("lower", fxc.capture(net, (x,)).module)
    assert operations(module) == ["linear", "gelu", "linear"]
    assert "dense is as fast with 2" in context.details["left"]["linear"]
    assert context.statistics["left"] == 2


def test_dense_weights_are_not_measured(monkeypatch):
    monkeypatch.setattr(sparse, "interleaved", lambda *given: pytest.fail("measured"))
    net, x = masked(1.0)
    _, context = apply("lower", fxc.capture(net, (x,)).module)
    assert not context.details["lowered"]
    assert not context.details["left"]


def test_alike_weights_are_measured_once(monkeypatch):
    seen = []

    def took(calls):
        seen.append(list(calls))
        return {name: 10.0 if name != "dense" else 90.0 for name in calls}

    monkeypatch.setattr(sparse, "interleaved", took)
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(4)]).eval()
    with torch.no_grad():
        for layer in net:
            layer.weight.zero_()
            layer.weight.view(-1)[:100] = torch.rand(100) + 1
    apply("lower", fxc.capture(net, (torch.randn(2, 32),)).module)
    assert len(seen) == 1


def test_without_measuring():
    net, x = masked(0.05)
    with torch.no_grad():
        net[2].weight.copy_(torch.randn(40, 48) * (torch.arange(48) < 20))
    module, context = apply("lower{measure=false}", fxc.capture(net, (x,)).module)
    assert [made["backend"] for made in context.details["lowered"].values()] == ["rows", "panels"]
    torch.testing.assert_close(module(x), net(x), rtol=1e-5, atol=1e-5)


def test_ignored_and_saved(tmp_path):
    net, x = masked(0.05)
    result = fxc.compress(net, (x,), "lower{measure=false ignore=2}")
    assert operations(result.module) == ["fxcompress.linear_sparse", "gelu", "linear"]
    result.save(tmp_path / "m.fxc")
    assert torch.equal(fxc.load(tmp_path / "m.fxc").module(x), result.module(x))
    assert not any("not counted" in note for note in result.report.notes)


@pytest.mark.parametrize("after", ["cluster{bits=3}", "quantize{scheme=w4a16}"])
def test_weights_that_are_kept_as_floats(after):
    net, x = masked(0.05)
    made = fxc.compress(net, (x,), after).module
    lowered = fxc.compress(net, (x,), f"{after},lower{{measure=false backends=float}}")
    with torch.no_grad():
        torch.testing.assert_close(lowered.module(x), made(x), rtol=1e-4, atol=1e-5)
    kinds = [made["kind"] for made in lowered.stages[-1].details["lowered"].values()]
    assert "sparse" in kinds, kinds
