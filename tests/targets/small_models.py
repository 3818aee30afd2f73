"""Small models that stand for the forms that graphs take."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import torch
from torch import nn
from torch.nn import functional as F

from fxcompress.capturing import Inputs


class Residual(nn.Module):
    """Convolution, batch norm, a residual sum, a buffer that is not in the state."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.layers = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 5)
        self.register_buffer("scale", torch.tensor([0.5]), persistent=False)
        for norm in (self.norm, self.layers[1]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, image):
        x = F.relu(self.norm(self.stem(image)))
        return self.head((x + self.layers(x)).mean((2, 3))) * self.scale


class Attention(nn.Module):
    """Attention with a mask, and a nest of dictionaries, lists and constants as output."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, x, mask=None):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = self.out(y.transpose(1, 2).reshape(batch, length, width))
        return OrderedDict(hidden=y, parts=[q, {"k": k}], nothing=None, heads=4)


class Tied(nn.Module):
    """A language model whose embedding is its head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.inner = nn.ModuleDict({"up-1": nn.Linear(6, 12), "down": nn.Linear(12, 6)})
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, *, ids):
        x = self.embedding(ids)
        x = x + self.inner["down"](F.gelu(self.inner["up-1"](x), approximate="tanh"))
        return (self.head(x), x)


class Constants(nn.Module):
    """Constants, slices, infinities, dtypes and arithmetic on the batch size."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Parameter(torch.randn(6), requires_grad=False)

    def forward(self, x, keep, *, scale=2.0):
        batch = x.shape[0]
        grid = torch.arange(6, dtype=torch.float64).to(x.dtype) + self.frozen
        pairs = x.reshape(batch * 2, 3)[..., 1:].reshape(batch, 4)
        masked = (x + grid).masked_fill(keep == 0, float("-inf")).softmax(-1)
        first, second = torch.split(masked, [2, 4], dim=-1)
        return {"pairs": pairs * scale, "parts": (first, second), "flags": keep.bool()}


Pair = namedtuple("Pair", ["left", "right"])


class Named(nn.Module):
    """Lists of tensors as input, a named tuple as output."""

    def forward(self, xs, options):
        return Pair(xs[0] + options["shift"], torch.cat(xs, 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.lstm(x)[0]


def cases():
    """Return models by name, each with inputs to capture it with and inputs to compare it on."""
    mask = torch.zeros(2, 1, 5, 5).masked_fill(torch.ones(5, 5).triu(1) == 1, float("-inf"))
    keep = torch.tensor([[1, 1, 0, 1, 0, 1]])
    return {
        "residual": (Residual(), Inputs(torch.randn(2, 3, 8, 8)), Inputs(torch.randn(5, 3, 8, 8))),
        "attention": (Attention(), Inputs(torch.randn(2, 5, 16), mask), Inputs(torch.randn(2, 5, 16), mask)),
        "tied": (Tied(), Inputs(ids=torch.arange(6).view(2, 3)), Inputs(ids=torch.arange(9).view(3, 3))),
        "constants": (
            Constants(),
            Inputs(torch.randn(3, 6), keep.expand(3, 6).contiguous(), scale=0.5),
            Inputs(torch.randn(4, 6), keep.expand(4, 6).contiguous(), scale=0.5),
        ),
        "recurrent": (Recurrent(), Inputs(torch.randn(2, 3, 4)), Inputs(torch.randn(3, 3, 4))),
    }
