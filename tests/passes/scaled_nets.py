"""Small models in float64 whose channels have scales that could move, and some whose have not."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional as F

import fxcompress as fxc


class PreNorm(nn.Module):
    """A transformer block whose norms feed nothing but linears, and a gated perceptron."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.RMSNorm(12)
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.gate, self.up, self.down = nn.Linear(12, 20), nn.Linear(12, 20, bias=False), nn.Linear(20, 12)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class PostNorm(nn.Module):
    """The sum behind the norm reads what the linear reads."""

    def __init__(self):
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        x = self.norm(x)
        return x + self.narrow(F.gelu(self.wide(x)))


class Handmade(nn.Module):
    """A norm in pieces: a product with a stored vector, and a stored sum."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(6) + 0.5), nn.Parameter(torch.randn(6))
        self.first, self.second = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scale + self.shift
        return self.first(x) - self.second(F.leaky_relu(x))


class Images(nn.Module):
    """Convolutions, one by groups and one by channels, with norms, pools, and a linear behind a flattening."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, groups=2, bias=False)
        self.third, self.fourth = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1)
        self.fifth, self.head = nn.Conv2d(12, 6, 1), nn.Linear(6, 5)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        x = self.third(F.pad(torch.relu(self.second(x)), (1, 1, 1, 1)))
        x = self.fifth(torch.relu(self.fourth(torch.relu(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(torch.relu(x), 1), 1))


class Shared(nn.Module):
    """A weight that two calls read, and a result of the model that a layer reads too."""

    def __init__(self):
        super().__init__()
        self.norm, self.twice, self.last = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = self.twice(self.twice(self.norm(x)))
        return x, self.last(x)


SHAPES = {PreNorm: (2, 5, 12), PostNorm: (3, 8), Handmade: (4, 6), Images: (2, 3, 12, 12), Shared: (3, 6)}


@functools.cache
def scaled(kind: type[nn.Module]) -> tuple[fxc.Captured, list[torch.Tensor]]:
    """Return a captured model in float64 with statistics of its own, and four batches of different sizes of values."""
    torch.manual_seed(7)
    model = kind().double()
    for name, tensor in model.named_parameters():
        with torch.no_grad():
            tensor.mul_(torch.exp(torch.randn_like(tensor)) if "norm" in name else 1)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    batches = [torch.randn(SHAPES[kind], dtype=torch.float64) * 3**step for step in range(4)]
    return fxc.capture(model.eval(), (batches[0],)), batches
