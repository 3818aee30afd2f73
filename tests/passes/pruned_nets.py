"""Small networks for the tests of pruning: each has inputs, and one output unless it says otherwise."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(12, 48), nn.Linear(48, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.third(functional.relu(self.second(functional.relu(self.first(x)))))

    @staticmethod
    def inputs(batch=4):
        return (torch.randn(batch, 12, generator=torch.Generator().manual_seed(batch)).double(),)


class Convolutions(nn.Module):
    """Residual, grouped and depthwise convolutions, squeeze-excite, concatenation, flatten."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.grouped, self.grouped_norm = nn.Conv2d(32, 32, 3, padding=1, groups=4), nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.side = nn.Conv2d(32, 24, 1)
        self.last, self.head = nn.Conv2d(56, 16, 3, stride=2), nn.Linear(16 * 9, 10)

    def forward(self, x):
        x = functional.relu(self.norm(self.conv(x)))
        y = functional.relu(self.grouped_norm(self.grouped(x)))
        y = self.depthwise(y) * torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        x = torch.cat([x + y, functional.gelu(self.side(x))], 1)
        return self.head(functional.relu(self.last(x)).flatten(1))

    @staticmethod
    def inputs(batch=4):
        return (torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch)).double(),)


class Attention(nn.Module):
    """A transformer block of four heads whose q, k and v come from one linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(12, 32)
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.wide, self.narrow, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, tokens, 3, 4, 8).permute(2, 0, 3, 1, 4)
        x = x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, 32))
        x = self.narrow(functional.gelu(self.wide(x))) + x
        return self.head(x.mean(1))

    @staticmethod
    def inputs(batch=4):
        return (torch.randn(batch, 6, 12, generator=torch.Generator().manual_seed(batch)).double(),)


class Grouped(nn.Module):
    """Grouped-query attention with rotary positions, RMS norms and tied embeddings, as language models have them."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.q, self.k, self.v = nn.Linear(32, 64, bias=False), nn.Linear(32, 32, bias=False), nn.Linear(32, 32)
        self.o, self.gate, self.up = nn.Linear(64, 32), nn.Linear(32, 48), nn.Linear(32, 48)
        self.down, self.scale = nn.Linear(48, 32), nn.Parameter(torch.ones(32))
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("frequencies", 1 / 100 ** (torch.arange(0, 16, 2).double() / 16))

    def rotated(self, x):
        angles = torch.arange(x.shape[2]).double()[:, None] * self.frequencies
        angles = torch.cat([angles, angles], -1)
        first, second = x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()

    def normed(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.scale

    def forward(self, ids):
        x = self.embed(ids)
        h = self.normed(x)
        q, k, v = (layer(h).unflatten(-1, (-1, 16)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (self.rotated(k), v))
        scores = (self.rotated(q) @ k.transpose(-1, -2) / 4).softmax(-1)
        x = x + self.o((scores @ v).transpose(1, 2).flatten(2))
        h = self.normed(x)
        return self.head(x + self.down(functional.silu(self.gate(h)) * self.up(h)))

    @staticmethod
    def inputs(batch=4):
        return (torch.randint(0, 50, (batch, 7), generator=torch.Generator().manual_seed(batch)),)


class Shuffling(nn.Module):
    """Two blocks of a network that splits its channels and shuffles them (Zhang et al., 2018)."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 10)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))

    def forward(self, x):
        x = functional.relu(self.stem(x))
        for block in self.blocks:
            left, right = x.chunk(2, 1)
            x = torch.cat([left, functional.relu(block(right))], 1)
            batch, _, height, width = x.shape
            x = x.view(batch, 2, 16, height, width).transpose(1, 2).reshape(batch, 32, height, width)
        return self.head(x.mean((2, 3)))

    @staticmethod
    def inputs(batch=4):
        return (torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(batch)).double(),)


class FeaturesToo(nn.Module):
    """Returns what its head reads beside what it gives."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return {"logits": self.head(x), "features": x}

    @staticmethod
    def inputs(batch=4):
        return (torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(batch)).double(),)


NETS = (Perceptron, Convolutions, Attention, Grouped, Shuffling)


def randomised(net):
    """Give biases, norm scales and statistics values behind which no error hides."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.2 + (0 if name.endswith("bias") else 1))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return net


def masked(net, removed):
    """Return a copy of `net` whose removed slices are zero: {name: {dim: positions}}."""
    made = copy.deepcopy(net)
    tensors = dict(made.named_parameters(remove_duplicate=False)) | dict(made.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, dims in removed.items():
            for dim, places in dims.items():
                tensors[name].index_fill_(dim, torch.tensor(places), 0)
    return made
