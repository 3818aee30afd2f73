"""A transformer encoder of any depth and little width, to see how time and memory grow with the layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, TOKENS = 64, 4, 16


class Layer(nn.Module):
    """Attention and a perceptron, each behind a layer norm, and what came in added."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, -1)
        x = x + self.projection(mixed)
        out: torch.Tensor = x + self.narrow(F.gelu(self.wide(self.norm2(x))))
        return out


class Encoder(nn.Module):
    """f32[batch, tokens, 64] -> logits f32[batch, 10]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer() for _ in range(depth)))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.layers(x).mean(1))
        return logits


def tokens() -> torch.Tensor:
    """Return an input of the encoder: two sequences."""
    return torch.randn(2, TOKENS, WIDTH)
