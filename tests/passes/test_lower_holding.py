"""Layers that no kernel calculates in integers read floats that are made once; a written weight counts."""

from __future__ import annotations

import copy

import torch
from nets import operations
from quantized_nets import near
from torch import nn

import fxcompress as fxc


class Mixed(nn.Module):
    """Layers of all kinds."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv1d(4, 8, 3), nn.ConvTranspose2d(1, 4, 2)
        self.lstm, self.table = nn.LSTM(6, 8, batch_first=True), nn.Parameter(torch.randn(8, 3))

    def forward(self, x):
        wide = self.two(self.one(x)[:, None])
        return self.lstm(wide.mean(1))[0] @ self.table


def compress(scheme):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 7)
    model = Mixed().eval()
    plain, lowered = (
        fxc.compress(model, (x,), text)
        for text in (f"quantize{{scheme={scheme}}}", f"quantize{{scheme={scheme}}},lower{{measure=false}}")
    )
    return plain.module, lowered, x


def test_every_layer():
    for scheme in ("w8a16", "w4a16", "pow2"):
        plain, lowered, x = compress(scheme)
        assert not any("dequantize" in one for one in operations(lowered.module)), scheme
        with torch.no_grad():
            # The product with the table is one of 16-bit fixed point.
            assert near(lowered.module(x), plain(x), 1e-6 if scheme == "w4a16" else 1e-4)
        held = lowered.stages[-1].details["held"]
        assert len(held) == (4 if scheme == "w4a16" else 3), held
        assert any("copy of the weights as floats" in note for note in lowered.stages[-1].notes)


def test_written_weights_and_copies(tmp_path):
    _, lowered, x = compress("w8a16")
    with torch.no_grad():
        before = lowered.module(x)
        lowered.save(tmp_path / "m.fxc")
        other = copy.deepcopy(lowered.module)
        name = next(name for name, tensor in other.state_dict().items() if name.startswith("one.weight_scale"))
        other.state_dict()[name].mul_(0)
        assert not near(other(x), before, 1e-3)
        assert torch.equal(lowered.module(x), before)
        assert torch.equal(fxc.load(tmp_path / "m.fxc").module(x), before)
