"""Networks with grouped convolutions, for the tests of pruning; all take images [N, 3, 8, 8] in float64."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def image(batch=4):
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch)).double()


class Bottleneck(nn.Module):
    """A block of ResNeXt: narrow, grouped, wide, with batch norms, around a residual."""

    def __init__(self, channels, width, groups, bias=False):
        super().__init__()
        self.narrow, self.grouped, self.wide = (
            nn.Conv2d(channels, width, 1, bias=bias),
            nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=bias),
            nn.Conv2d(width, channels, 1, bias=bias),
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in (width, width, channels))

    def forward(self, x):
        y = functional.relu(self.norms[0](self.narrow(x)))
        y = functional.relu(self.norms[1](self.grouped(y)))
        return functional.relu(x + self.norms[2](self.wide(y)))


class ResNeXt(nn.Module):
    def __init__(self, blocks=2, groups=4, bias=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.blocks = nn.Sequential(*(Bottleneck(24, 32, groups, bias) for _ in range(blocks)))
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.blocks(functional.relu(self.stem(x))).mean((2, 3)))


class WithBias(ResNeXt):
    def __init__(self):
        super().__init__(1, 2, bias=True)


class Chain(nn.Module):
    """Grouped convolutions of other numbers of groups one behind the other, the last transposed."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 5, 1)
        self.first, self.norm = nn.Conv2d(32, 32, 3, padding=1, groups=2), nn.BatchNorm2d(32)
        self.second = nn.Conv2d(32, 64, 3, padding=1, groups=4)
        self.third = nn.ConvTranspose2d(64, 32, 2, stride=2, groups=2)

    def forward(self, x):
        x = functional.relu(self.norm(self.first(functional.gelu(self.stem(x)))))
        return self.head(functional.silu(self.third(functional.relu(self.second(x))))).mean((2, 3))


class Residual(nn.Module):
    """What a grouped convolution gives is added to what it reads, squeezed and excited, and normalised in groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.last, self.head = nn.Conv2d(32, 16, 1, groups=2), nn.Linear(16, 10)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        x = x + self.grouped(x)
        x = x * torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(self.last(x).mean((2, 3)))


class Sigmoids(nn.Module):
    """Between the two convolutions stands what makes more than zero of zeros."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(functional.relu(self.grouped(torch.sigmoid(self.stem(x)))).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNet: grouped, shuffled, depthwise, grouped."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 32, 1), nn.Linear(32, 10)
        self.first, self.last = nn.Conv2d(32, 16, 1, groups=4), nn.Conv2d(16, 32, 1, groups=4)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        y = functional.relu(self.first(x))
        y = y.view(y.shape[0], 4, 4, 8, 8).transpose(1, 2).reshape(y.shape)
        return self.head(functional.relu(x + self.last(self.deep(y))).mean((2, 3)))


GROUPED = (ResNeXt, WithBias, Chain, Residual, Sigmoids, ShuffleUnit)
