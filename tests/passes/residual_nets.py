"""Small networks with residual blocks, as people write them: ResNets, transformers with norms before and behind."""

from __future__ import annotations

import torch
from nets import with_statistics
from torch import nn


class Bottle(nn.Module):
    """A post-activation block; its shortcut is the identity unless the width changes."""

    def __init__(self, width, wider=None):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, wider or width, 3, padding=1, bias=False), nn.BatchNorm2d(wider or width)
        self.down = nn.Conv2d(width, wider, 1) if wider else None

    def forward(self, x):
        shortcut = x if self.down is None else self.down(x)
        return torch.relu(shortcut + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(Bottle(8), Bottle(8))
        self.layer2 = nn.Sequential(Bottle(8, 12), Bottle(12))
        self.head = nn.Linear(12, 4)

    def forward(self, image):
        return self.head(self.layer2(self.layer1(torch.relu(self.stem(image)))).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A layer of a transformer: `order` is pre, post or parallel."""

    def __init__(self, width, order):
        super().__init__()
        self.order = order
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width)
        self.norm2 = nn.Identity() if order == "shared norm" else nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 20), nn.GELU(), nn.Linear(20, width))
        self.drop = nn.Dropout(0.1)

    def forward(self, x, mask):
        if self.order == "post":
            x = self.norm1(x + self.drop(self.attn(x, mask)))
            return self.norm2(x + self.drop(self.mlp(x)))
        if self.order == "parallel":
            return self.attn(self.norm1(x), mask) + self.mlp(self.norm2(x)) + x
        if self.order == "shared norm":
            normed = self.norm1(x)
            return self.attn(normed, mask) + self.mlp(normed) + x
        x = x + self.drop(self.attn(self.norm1(x), mask))
        return x + self.drop(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    def __init__(self, order="pre", depth=3):
        super().__init__()
        self.embed, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.layers = nn.ModuleList(Layer(8, order) for _ in range(depth))
        self.head = nn.Linear(8, 5)

    def forward(self, ids, mask):
        x, mask = self.embed(ids), mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x))


class SkipLayer(nn.Module):
    """What a layer is without: it takes what a layer takes and gives its first input."""

    def forward(self, x, *rest, **options):
        return x


def resnet():
    torch.manual_seed(0)
    return with_statistics(ResNet()).double().eval(), (torch.randn(2, 3, 8, 8, dtype=torch.float64),)


def transformer(order="pre"):
    torch.manual_seed(0)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, 4:] = False
    return Transformer(order).double().eval(), (torch.randint(11, (2, 6)), mask)
