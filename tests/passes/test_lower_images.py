"""Convolutions with what stands behind them, and bytes that flow through pooling, joining and reshaping."""

from __future__ import annotations

import pytest
import torch
from nets import operations
from quantized_nets import near
from torch import nn

import fxcompress as fxc
from fxcompress.kernels.backends import VARIABLE, read_again

QUANTIZE = "fold-bn,quantize{scheme=w8a8-static observer=minmax}"
LOWER = f"{QUANTIZE},lower{{measure=false}}"


@pytest.fixture(params=["", "native", "native,onednn"])
def lowered(request, monkeypatch):
    """Compress with and without lowering, with backends switched off; compare on other images, return the result."""
    monkeypatch.setenv(VARIABLE, request.param)
    read_again()

    def compare(model, x, tolerance=2e-2):
        calibration = [(torch.randn_like(x),) for _ in range(2)]
        plain, lowered = (fxc.compress(model, (x,), text, calibration=calibration) for text in (QUANTIZE, LOWER))
        other = torch.randn_like(x)
        with torch.no_grad():
            assert near(lowered.module(other), plain.module(other), tolerance)
        return operations(lowered.module)

    yield compare
    monkeypatch.undo()
    read_again()


class Residual(nn.Module):
    """A residual block with or without a convolution around it."""

    def __init__(self, channels, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))
        self.around = nn.Conv2d(channels, outputs, 1, stride) if stride > 1 or channels != outputs else nn.Identity()

    def forward(self, x):
        inner = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(inner)) + self.around(x))


class Net(nn.Module):
    """The parts of a residual network."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 16, 7, 2, 3), nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(Residual(16, 16, 1), Residual(16, 24, 2), Residual(24, 24, 1))
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.blocks(self.pool(torch.relu(self.stem(x))))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def test_bytes_from_the_first_convolution_to_the_last(lowered):
    torch.manual_seed(0)
    found = lowered(Net().eval(), torch.randn(2, 3, 33, 37))
    for word in ("add", "relu", "max_pool2d", "dequantize"):
        assert not any(one.split(".")[-1].startswith(word) for one in found), word
    assert found.count("fxcompress.conv_static") + found.count("fxcompress.conv_pool_static") == 8
    assert found.count("fxcompress.max_pool_u8") + found.count("fxcompress.conv_pool_static") == 1
    # The image, and what the mean gives.
    assert found.count("fxcompress.quantize_u8") == 2


class Joined(nn.Module):
    """Branches that are joined, pooled with another window, and flattened."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 12, 3, padding=1, groups=4)
        self.c, self.head = nn.Conv2d(20, 8, 3), nn.Linear(8 * 3 * 2, 7)

    def forward(self, x):
        x = torch.cat([torch.relu(self.a(x)), self.b(x)], 1)
        x = nn.functional.max_pool2d(torch.relu(self.c(x)), (2, 3), padding=(0, 1))
        return self.head(x.flatten(1))


def test_joined_pooled_and_flattened(lowered):
    torch.manual_seed(0)
    found = lowered(Joined().eval(), torch.randn(2, 4, 8, 8))
    assert found.count("fxcompress.quantize_u8") == 1
    assert "fxcompress.max_pool_u8" in found or "fxcompress.conv_pool_static" in found


class Left(nn.Module):
    """Where floats are read too, or windows reach over the border, quantization stays where it is."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        pooled = nn.functional.max_pool2d(self.a(x), 2, ceil_mode=True)
        again = nn.functional.max_pool2d(self.b(pooled), 2)
        return self.c(again) * again.sigmoid() + pooled.mean()


def test_what_stays(lowered):
    torch.manual_seed(0)
    found = lowered(Left().eval(), torch.randn(2, 4, 9, 9))
    assert found.count("max_pool2d") == 2
