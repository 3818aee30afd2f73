"""Graphs put together of layers of others, against those others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.quantizing.grafting import Grafts

IDS = torch.arange(8).view(2, 4)
SCHEMES = ("scheme=w8a16", "scheme=w4a16 group=3", "scheme=w8a8", "scheme=w8a8-static", "scheme=bf16")


class Net(nn.Module):
    """Tied, viewed and stacked weights, two in one call, recurrent ones, and both operands stored."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.recurrent = nn.LSTM(6, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.matrix, self.other = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6, 6))
        self.conv, self.up = nn.Conv1d(6, 6, 3), nn.ConvTranspose1d(6, 6, 3)

    def forward(self, ids):
        x, _ = self.recurrent(self.embedding(ids))
        x, _ = self.attention(x, x + 1, x * 2)
        x = x @ (self.matrix @ self.other.t())
        x = self.up(torch.relu(self.conv(x.transpose(1, 2))))
        return self.head(x.transpose(1, 2))


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return fxc.capture(Net().eval(), (IDS,))


def quantized(captured, options):
    result = fxc.compress(captured, None, f"quantize{{{options}}}", calibration=[(IDS,)])
    return result.module, list(result.stages[0].details["quantized"])


def results(module):
    with torch.no_grad():
        return module(IDS)


@pytest.mark.parametrize("options", SCHEMES)
def test_all_layers_are_the_quantized_graph_and_none_the_original(captured, options):
    whole, paths = quantized(captured, options)
    grafts = Grafts(captured.module, whole, paths)
    assert not torch.equal(results(whole), results(captured.module))
    assert torch.equal(results(grafts.variant(paths)), results(whole))
    assert torch.equal(results(grafts.variant([])), results(captured.module))


@pytest.mark.parametrize("options", SCHEMES)
def test_what_is_not_wanted_falls_back(captured, options):
    whole, paths = quantized(captured, options)
    fallback, others = quantized(captured, "scheme=w3a16 group=2")
    grafts = Grafts(captured.module, whole, [path for path in paths if path in others], fallback)
    assert torch.equal(results(grafts.variant([])), results(fallback))
    if set(paths) == set(others):
        assert torch.equal(results(grafts.variant(paths)), results(whole))


def test_each_weight_changes_what_it_should(captured):
    """Both graphs share the tensors, so that a weight made zero in one is zero in all."""
    whole, paths = quantized(captured, "scheme=w8a16")
    grafts = Grafts(captured.module, whole, paths)
    for path in paths:
        variant = grafts.alone(path)
        assert not torch.equal(results(variant), results(captured.module)), path
        stored = [name for name, _ in variant.named_buffers() if name.startswith("quantized.")]
        assert stored == [f"quantized.{path}", f"quantized.{path}_scale"]
        assert all(held is captured.module.get_parameter(name) for name, held in variant.named_parameters())
