"""Small models whose axes are known by looking at them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress.analysis.axes import analyse


class Residual(nn.Module):
    """A stem, a convolution added to it, and a head."""

    def __init__(self, channels=8, hidden=6):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        self.head = nn.Linear(channels, 5)

    def forward(self, image):
        x = torch.relu(self.norm(self.stem(image)))
        x = x + self.expand(torch.relu(self.squeeze(x)))
        return self.head(x.mean((2, 3)))


class Grouped(nn.Module):
    """Two grouped convolutions, whose factors tie axes that no single link names together; the groups are a result."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(4, 12, 3, groups=4, padding=1)
        self.two = nn.Conv2d(12, 8, 3, groups=4, padding=1)

    def forward(self, image):
        return self.two(torch.relu(self.one(image))).unflatten(1, (4, 2)).sum(2)


class Words(nn.Module):
    """An embedding, a block with attention and layer norm, and pieces that are joined."""

    def __init__(self, heads=4, size=3):
        super().__init__()
        self.heads, self.size = heads, size
        self.words = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 3 * heads * size)
        self.out = nn.Linear(heads * size, 8)
        self.score = nn.Linear(8, 7)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, numbers):
        x = self.words(numbers)
        parts = (part.unflatten(-1, (self.heads, self.size)) for part in self.qkv(self.norm(x)).chunk(3, -1))
        q, k, v = (part.transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        scores = (self.score(x) * self.temperature).softmax(-1)
        return scores.sum(-1)


class Joined(nn.Module):
    """A concatenation of which one part goes through a softmax too."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(4, 6)
        self.top = nn.Linear(12, 2)

    def forward(self, x):
        left = self.left(x)
        return left.softmax(-1), self.top(torch.cat([left.tanh(), self.right(x)], -1))


class Fourier(nn.Module):
    """An operator that no rule describes."""

    def __init__(self):
        super().__init__()
        self.enter, self.hidden, self.leave = nn.Linear(4, 6), nn.Linear(6, 9), nn.Linear(9, 4)

    def forward(self, x):
        return self.leave(torch.relu(self.hidden(torch.special.bessel_j0(torch.fft.fft(self.enter(x)).real))))


class Layers(nn.Module):
    """Layers alike, and one of another width."""

    def __init__(self, widths=(5, 5, 5, 7)):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 4)) for n in widths)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


EXAMPLES = {
    "residual": (Residual, (torch.randn(2, 3, 6, 6),)),
    "grouped": (Grouped, (torch.randn(2, 4, 5, 5),)),
    "words": (Words, (torch.randint(0, 11, (2, 5)),)),
    "joined": (Joined, (torch.randn(3, 4),)),
    "fourier": (Fourier, (torch.randn(3, 4),)),
    "layers": (Layers, (torch.randn(3, 4),)),
}


def axes_of(name, **sizes):
    """The axes of an example."""
    make, inputs = EXAMPLES[name]
    return analyse(fxc.capture(make(**sizes).eval(), inputs).module)
