"""Small networks that give their values in all the ways in which modules do."""

from __future__ import annotations

import torch
from torch import nn


class Pair(nn.Module):
    """Gives two values."""

    def forward(self, x):
        return x * 2, torch.relu(x)


class Residual(nn.Module):
    """A sum in place around a block, as in ResNets."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm(self.conv(x))
        y += x
        return self.act(y)


class Pictures(nn.Module):
    """Blocks in a list, a module that is called twice, dropout in place on a view, a dictionary out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layers = nn.ModuleList([Residual(4), Residual(4)])
        self.again = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(4, 10))

    def forward(self, image):
        x = self.stem(image)
        for layer in self.layers:
            x = layer(x)
        x = self.again(self.again(x))
        return {"logits": self.head(torch.flatten(self.pool(x), 1)), "features": x}


class Words(nn.Module):
    """An embedding, a pair of values that are both read, an LSTM with its states, a conversion that does nothing."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 6)
        self._hidden = nn.Linear(6, 6)
        self.pair = Pair()
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.nothing = nn.Identity()
        self.norm = Norm(6)

    def forward(self, ids):
        x = self._hidden(self.embed(ids))
        left, right = self.pair(x)
        out, (state, _) = self.rnn(left + right)
        return self.nothing(out + self.norm(out)), state


class Norm(nn.Module):
    """As the norms of language models: to float32, which it is already."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def forward(self, x):
        y = x.to(torch.float32)
        return self.weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def pictures():
    """The network and inputs for it, its batch norms as training leaves them."""
    torch.manual_seed(3)
    model = Pictures()
    for _ in range(3):
        model(torch.randn(8, 3, 6, 6) * 2 + 1)
    return model.eval(), (torch.randn(4, 3, 6, 6),)


def words():
    torch.manual_seed(4)
    return Words().eval(), (torch.randint(0, 12, (3, 5)),)
