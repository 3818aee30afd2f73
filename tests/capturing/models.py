"""Tiny models that between them do what real ones do; each with inputs for any batch size."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Plain(nn.Module):
    """Convolution, batch norm in place, a residual sum, dropout, a dictionary out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.side = nn.Conv2d(8, 8, 1)
        self.drop = nn.Dropout(0.3, inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, image, scale=1.0):
        x = self.act(self.bn(self.conv(image)))
        x = self.act(self.side(x) + x)
        x = self.drop(x + 1).mean((2, 3))
        return {"logits": self.fc(x) * scale, "pair": (x, [x + 1])}


class Tied(nn.Module):
    """An embedding that is the output layer too, a module under two names, buffers of both kinds."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 6)
        self.again = self.body
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("kept", torch.ones(6))
        self.register_buffer("fleeting", torch.full((6,), 2.0), persistent=False)
        self.table = torch.arange(6.0)
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, words):
        x = self.again(self.body(self.embed(words))) * self.kept + self.fleeting + self.table
        return self.out(x)


class NoGrad(nn.Module):
    """Parts without gradients: on parameters, on inputs, on constants, nested, and with gradients on inside."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            scale = torch.arange(4.0).softmax(0)
            target = self.a(x).tanh()
            with torch.enable_grad():
                inner = self.b(x)
            mixed = inner * target
        return self.a(x) * scale + self.b(target) + mixed + inner


class InPlace(nn.Module):
    """Writes into tensors, into views of them, with other views alive."""

    def forward(self, x):
        mask = torch.zeros(8, 8)
        for number, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
            mask[row : row + 4, column : column + 4] = number
        doubled = x * 2
        query, key, value = doubled.chunk(3, -1)
        query *= 3
        key[:, 0] = 0
        value.masked_fill_(value < 0, -1)
        both = torch.empty(x.shape[0], 2, 9)
        both[:, 0] = x
        both[:, 1] = doubled
        flat = both.view(-1, 18).t()
        flat += 1
        diagonal = torch.zeros(5, 5)
        diagonal.diagonal().copy_(torch.arange(5.0))
        grown = x.unsqueeze(0).clone()
        grown.squeeze_(0)
        grown.relu_()
        return mask, query, key, value, doubled, both, flat, diagonal, grown


class Writer(nn.Module):
    """Writes into its input, a buffer and a parameter: this has to stay."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        with torch.no_grad():
            self.weight.mul_(0.5)
        x += 1
        return x * self.weight


class Attention(nn.Module):
    """Attention with a dropout that only Python knows of, and a stochastic depth."""

    def __init__(self, drop=0.0, depth=0.0):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.drop = drop
        self.path = StochasticDepth(depth)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=self.drop if self.training else 0.0)
        return x + self.path(self.proj(y.transpose(1, 2).flatten(2)))


class StochasticDepth(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        keep = torch.empty(x.shape[0], 1, 1, dtype=x.dtype).bernoulli_(1 - self.p)
        return x * keep / (1 - self.p)


class Branches(nn.Module):
    """Chooses its way by the batch size."""

    def __init__(self, wanted):
        super().__init__()
        self.wanted = wanted

    def forward(self, x):
        return x + 1 if self.wanted(x.shape[0]) else x - 1


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True, dropout=0.2)

    def forward(self, x):
        y, (hidden, _) = self.lstm(x)
        return y, hidden


def image(batch):
    return (torch.randn(batch, 3, 8, 8),)


def words(batch):
    return (torch.randint(0, 11, (batch, 5)),)


def rows(*shape):
    return lambda batch: (torch.randn(batch, *shape),)
