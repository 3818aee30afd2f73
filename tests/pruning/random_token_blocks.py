"""The blocks of random networks that work on tokens [N, T, C]."""

from __future__ import annotations

import random

import torch
from random_blocks import Shape, on_tokens
from torch import nn

F = nn.functional


class RootMeanSquare(nn.Module):
    """The norm as most language models write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.weight * (given * torch.rsqrt(given.pow(2).mean(-1, keepdim=True) + 1e-5))


def norm(chosen: random.Random, channels: int) -> nn.Module:
    made = [nn.LayerNorm(channels), nn.RMSNorm(channels), RootMeanSquare(channels), nn.Identity()]
    return chosen.choice(made)


class Added(nn.Module):
    """A body beside the way on."""

    def __init__(self, first: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.first, self.body = first, body

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given + self.body(self.first(given))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """A gated perceptron: two projections, fused or not."""

    def __init__(self, channels: int, inner: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.up = nn.Linear(channels, 2 * inner)
        self.gate = nn.Linear(channels, inner) if kind == "apart" else None
        self.down = nn.Linear(inner if kind != "wide" else 2 * inner, channels)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made = self.up(given)
        if self.kind == "glu":
            made = F.glu(made, -1)
        elif self.kind == "chunk":
            one, other = made.chunk(2, -1)
            made = F.silu(one) * other
        elif self.gate is not None:
            made = made[..., ::2] * torch.sigmoid(self.gate(given))
        else:
            made = F.gelu(made)
        return self.down(made)  # type: ignore[no-any-return]


@on_tokens
def perceptron(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    body = Gated(shape.channels, chosen.choice([8, 10]), chosen.choice(["wide", "glu", "chunk", "apart"]))
    return Added(norm(chosen, shape.channels), body), shape


def rotated(given: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Turn pairs of channels, half the head apart, by the angle of their place."""
    one, other = given.chunk(2, -1)
    turned = torch.cat((-other, one), -1)
    return given * angles.cos() + turned * angles.sin()


class Attention(nn.Module):
    """Heads in every form in which they are written."""

    def __init__(self, chosen: random.Random, channels: int, places: int) -> None:
        super().__init__()
        self.heads, self.size = chosen.choice([2, 4]), chosen.choice([4, 6])
        self.shared = chosen.choice([1, 1, 2, self.heads])
        self.kind = chosen.choice(["views", "fused", "split"])
        if self.kind == "fused":
            self.shared = 1
        self.how, self.repeat = chosen.choice(["sdpa", "matmul", "einsum"]), chosen.choice(["repeat", "expand", "flag"])
        few = self.heads // self.shared
        widths = [self.heads * self.size, few * self.size, few * self.size]
        self.widths, self.few = widths, few
        bias = chosen.random() < 0.7
        if self.kind == "views":
            self.query, self.key, self.value = (nn.Linear(channels, one, bias=bias) for one in widths)
        else:
            self.both = nn.Linear(channels, sum(widths), bias=bias)
        self.norm = nn.RMSNorm(self.size) if chosen.random() < 0.25 else nn.Identity()
        self.bias = nn.Parameter(torch.randn(self.heads, places, places)) if chosen.random() < 0.3 else None
        self.causal = chosen.random() < 0.2
        self.turned = chosen.random() < 0.3
        steps = torch.arange(places)[:, None] / 100 ** (torch.arange(self.size // 2) / self.size)
        self.register_buffer("angles", torch.cat((steps, steps), -1))
        self.out = nn.Linear(self.heads * self.size, channels)

    def rows(self, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, t, _ = given.shape
        if self.kind == "fused":
            query, key, value = self.both(given).reshape(n, t, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
            return query, key, value
        if self.kind == "split":
            row = self.both(given).split(self.widths, -1)
        else:
            row = (self.query(given), self.key(given), self.value(given))
        query, key, value = (one.view(n, t, -1, self.size).transpose(1, 2) for one in row)
        return query, key, value

    def repeated(self, given: torch.Tensor) -> torch.Tensor:
        if self.shared == 1 or (self.repeat == "flag" and self.how == "sdpa"):
            return given
        if self.repeat == "repeat":
            return given.repeat_interleave(self.shared, 1)
        n, h, t, d = given.shape
        return given[:, :, None].expand(n, h, self.shared, t, d).reshape(n, h * self.shared, t, d)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        query, key, value = self.rows(given)
        query, key = self.norm(query), self.norm(key)
        if self.turned:
            query, key = rotated(query, self.angles), rotated(key, self.angles)
        key, value = self.repeated(key), self.repeated(value)
        made = self.mixed(query, key, value).transpose(1, 2).reshape(*given.shape[:2], -1)
        return self.out(made)  # type: ignore[no-any-return]

    def mixed(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if self.how == "sdpa":
            mask = None if self.causal else self.bias
            flag = self.shared > 1 and self.repeat == "flag"
            return F.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal, enable_gqa=flag)
        if self.how == "matmul":
            scores = query @ key.transpose(-2, -1) * self.size**-0.5
        else:
            scores = torch.einsum("bhid,bhjd->bhij", query, key)
        scores = scores if self.bias is None else scores + self.bias
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -1e9)
        scores = scores.softmax(-1)
        return scores @ value if self.how == "matmul" else torch.einsum("bhij,bhjd->bhid", scores, value)


@on_tokens
def attention(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    body = Attention(chosen, shape.channels, shape.places)
    return Added(norm(chosen, shape.channels), body), shape


class Torch(nn.Module):
    """Attention as torch has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layer(given, given, given, need_weights=False)[0]
        return made


@on_tokens
def torch_attention(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    return Added(norm(chosen, shape.channels), Torch(shape.channels)), shape


class Mixed(nn.Module):
    """A perceptron over the places, or a convolution over them."""

    def __init__(self, shape: Shape, groups: int) -> None:
        super().__init__()
        deep = nn.Conv1d(shape.channels, shape.channels, 3, padding=1, groups=groups or 1)
        places = shape.places
        self.body = deep if groups else nn.Sequential(nn.Linear(places, 6), nn.GELU(), nn.Linear(6, places))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.body(given.transpose(1, 2)).transpose(1, 2)
        return made


@on_tokens
def over_places(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    return Added(norm(chosen, shape.channels), Mixed(shape, chosen.choice([0, 0, 1, 2, shape.channels]))), shape


@on_tokens
def widened(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    outs = chosen.choice([8, 12, 16])
    layer = nn.Sequential(nn.Linear(shape.channels, outs), nn.LayerNorm(outs), nn.GELU())
    return layer, Shape(outs, shape.size, is_map=False)


class Recurrent(nn.Module):
    def __init__(self, channels: int, both: bool) -> None:
        super().__init__()
        self.layer = nn.GRU(channels, 5, batch_first=True, bidirectional=both)
        self.back = nn.Linear(10 if both else 5, channels)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.back(self.layer(given)[0])
        return made


@on_tokens
def recurrent(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    return Recurrent(shape.channels, chosen.random() < 0.5), shape
