"""Networks that are lowered for a GPU."""

from __future__ import annotations

import torch
from torch import nn

import fxcompress as fxc


class Layer(nn.Module):
    """A layer of an encoder: q, k and v of one input, activation, residuals, norms."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(64, 64) for _ in range(4))
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
        self.first, self.second = nn.LayerNorm(64), nn.LayerNorm(64)

    def forward(self, x):
        q, k, v = (one(x).unflatten(-1, (4, 16)).transpose(1, 2) for one in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first(x + self.out(mixed))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


def compressed(net, x, text):
    return fxc.compress(
        net, (x,), text, calibration=[(x,)], plugins=fxc.Plugins(autoload=False), diffs=False, verify_run=False
    )


def far(got, want):
    return float((got.detach().double() - want.detach().double()).abs().max() / want.detach().double().abs().max())


class Wide(nn.Module):
    def __init__(self, inner=2048):
        super().__init__()
        self.up, self.down = nn.Linear(512, inner), nn.Linear(inner, 512)

    def forward(self, x):
        return x + self.down(nn.functional.silu(self.up(x)))


class Rms(nn.Module):
    """As decoders spell their norms."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x):
        wide = x.to(torch.float32)
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(x.dtype)


class Decoder(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.table, self.first, self.second = nn.Embedding(50, width), Rms(width), Rms(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, ids):
        x = self.table(ids)
        given = self.first(x)
        q, k, v = (one(given).unflatten(-1, (4, -1)).transpose(1, 2) for one in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        given = self.second(x)
        return x + self.down(nn.functional.silu(self.gate(given)) * self.up(given))


IDS = torch.arange(14).view(2, 7)
