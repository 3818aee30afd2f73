"""A small network with every kind of layer that is quantized, for the tests of targets."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc


class Net(nn.Module):
    """A table, convolutions with a residual sum, masked attention, linears of two and of three dimensions."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.stem = nn.Conv1d(32, 32, 3, padding=1)
        self.body = nn.Conv1d(32, 32, 3, padding=1)
        self.qkv = nn.Linear(32, 96)
        self.up = nn.Linear(32, 64)
        self.down = nn.Linear(64, 32, bias=False)
        self.first = nn.Linear(32, 64)
        self.head = nn.Linear(64, 8)

    def forward(self, ids, mask):
        x = torch.relu(self.stem(self.table(ids).transpose(1, 2)))
        x = torch.relu(x + self.body(x)).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        seen = mask[:, None, None, :] & mask[:, None, :, None]
        x = x + functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        x = x + self.down(functional.gelu(self.up(x)))
        return {"tokens": x, "logits": self.head(torch.relu(self.first(x.mean(1))))}


def batch(size: int, seed: int = 0):
    """Ids and a mask; the last token of the first row can see nothing and is seen by none."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(size, 12, dtype=torch.bool)
    mask[0, -1] = False
    return torch.randint(0, 50, (size, 12), generator=generator), mask


def compressed(pipeline, **given):
    """The network after `pipeline`, calibrated."""
    torch.manual_seed(0)
    calibration = [batch(8, seed) for seed in range(1, 5)]
    return fxc.compress(Net().eval(), batch(4), pipeline, calibration=calibration, **given)


def sqnr(want, got):
    """Decibels of `want` over what `got` differs by."""
    return float(20 * torch.log10(want.double().norm() / (want.double() - got.double()).norm().clamp(min=1e-30)))
