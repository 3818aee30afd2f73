"""The blocks of random networks: each takes a map or tokens, and says which shape it gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

F = nn.functional


@dataclass(frozen=True)
class Shape:
    """Of a map [N, channels, size, size], or of tokens [N, size * size, channels]."""

    channels: int
    size: int
    is_map: bool

    @property
    def places(self) -> int:
        return self.size * self.size


Maker = Callable[[random.Random, Shape], tuple[nn.Module, Shape]]
MAPS: list[Maker] = []
TOKENS: list[Maker] = []


def on_maps(maker: Maker) -> Maker:
    MAPS.append(maker)
    return maker


def on_tokens(maker: Maker) -> Maker:
    TOKENS.append(maker)
    return maker


def norm(chosen: random.Random, channels: int) -> nn.Module:
    """Return a norm over the channels of a map, or nothing."""
    kind = chosen.choice(["batch", "batch", "group", "instance", "one group", "none"])
    if kind == "group":
        return nn.GroupNorm(chosen.choice([2, 4]) if channels % 4 == 0 else 2, channels)
    if kind == "one group":
        return nn.GroupNorm(1, channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=chosen.random() < 0.5)
    return nn.BatchNorm2d(channels, affine=chosen.random() < 0.8) if kind == "batch" else nn.Identity()


def activation(chosen: random.Random, channels: int) -> nn.Module:
    kinds = [
        nn.ReLU(),
        nn.SiLU(),
        nn.GELU(),
        nn.Sigmoid(),
        nn.Hardswish(),
        nn.PReLU(channels),
        nn.Tanh(),
        nn.Softplus(),
    ]
    return chosen.choice(kinds)


def convolution(chosen: random.Random, ins: int, outs: int, groups: int = 1) -> nn.Sequential:
    bias = chosen.random() < 0.7
    size = chosen.choice([1, 3])
    layer = nn.Conv2d(ins, outs, size, padding=size // 2, groups=groups, bias=bias)
    return nn.Sequential(layer, norm(chosen, outs), activation(chosen, outs))


def width(chosen: random.Random) -> int:
    return chosen.choice([8, 12, 16])


@on_maps
def plain(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    outs = width(chosen)
    return convolution(chosen, shape.channels, outs), replace(shape, channels=outs)


@on_maps
def grouped(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    outs, groups = width(chosen), chosen.choice([2, 4])
    return convolution(chosen, shape.channels, outs, groups), replace(shape, channels=outs)


@on_maps
def depthwise(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    outs = shape.channels * chosen.choice([1, 2]) if shape.channels < 16 else shape.channels
    deep = convolution(chosen, shape.channels, outs, shape.channels)
    return nn.Sequential(deep, convolution(chosen, outs, 8)), replace(shape, channels=8)


class Residual(nn.Module):
    def __init__(self, body: nn.Module, way: nn.Module, scale: bool, channels: int) -> None:
        super().__init__()
        self.body, self.way = body, way
        self.scale = nn.Parameter(torch.randn(channels, 1, 1)) if scale else None

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.body(given)
        made = made if self.scale is None else made * self.scale
        return self.way(given) + made  # type: ignore[no-any-return]


@on_maps
def residual(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    inner, outs = width(chosen), chosen.choice([shape.channels, width(chosen)])
    groups = chosen.choice([1, 1, 2, 4])
    body = nn.Sequential(
        convolution(chosen, shape.channels, inner), convolution(chosen, inner, inner, groups), nn.Conv2d(inner, outs, 1)
    )
    way = nn.Identity() if outs == shape.channels else nn.Conv2d(shape.channels, outs, 1)
    return Residual(body, way, chosen.random() < 0.3, outs), replace(shape, channels=outs)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, inner: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        layer = nn.Linear if kind == "linear" else lambda a, b: nn.Conv2d(a, b, 1)
        self.down, self.up = layer(channels, inner), layer(inner, channels)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        seen = F.adaptive_avg_pool2d(given, 1)
        seen = seen.flatten(1) if self.kind == "linear" else seen
        seen = torch.sigmoid(self.up(F.relu(self.down(seen))))
        return given * (seen[:, :, None, None] if self.kind == "linear" else seen)


@on_maps
def squeeze_excite(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    return SqueezeExcite(shape.channels, 4, chosen.choice(["linear", "conv"])), shape


class Branches(nn.Module):
    """Branches side by side, concatenated; the first may be the input itself."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(given) for branch in self.branches], 1)


@on_maps
def dense(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    more = chosen.choice([4, 6])
    if shape.channels > 24:
        return plain(chosen, shape)
    first: nn.Module = nn.Identity() if chosen.random() < 0.6 else convolution(chosen, shape.channels, shape.channels)
    made = [first, convolution(chosen, shape.channels, 8)[:1], nn.Conv2d(shape.channels, more, 3, padding=1)]
    outs = shape.channels + 8 + more
    mixed = nn.Sequential(Branches(made), nn.BatchNorm2d(outs), nn.ReLU(), nn.Conv2d(outs, 12, 1))
    return mixed, replace(shape, channels=12)


class Halves(nn.Module):
    """One half goes on, the other through a body; the results are concatenated, or every step is."""

    def __init__(self, channels: int, body: list[nn.Module], how: str) -> None:
        super().__init__()
        self.body, self.how, self.half = nn.ModuleList(body), how, channels // 2

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        if self.how == "slice":
            kept, going = given[:, : self.half], given[:, self.half :]
        else:
            kept, going = given.chunk(2, 1)
        rows = [kept, going]
        for layer in self.body:
            rows.append(layer(rows[-1]))
        return torch.cat(rows if self.how == "all" else [rows[0], rows[-1]], 1)


@on_maps
def halves(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    half, how = shape.channels // 2, chosen.choice(["slice", "chunk", "all"])
    body: list[nn.Module] = [convolution(chosen, half, half) for _ in range(chosen.randint(1, 2))]
    outs = half * (2 + len(body)) if how == "all" else 2 * half
    mixed = nn.Sequential(Halves(shape.channels, body, how), nn.Conv2d(outs, 8, 1))
    return mixed, replace(shape, channels=8)
