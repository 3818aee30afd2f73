"""Random networks: well-formed modules of the parts that make pruning hard, the same for the same seed.

A network starts from an image or from token ids, goes through a few random blocks on maps [N, C, H, W] and on tokens
[N, T, C], and ends in a head. `describe` lists the blocks, so that a failing network can be told in a line.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import random_map_blocks as random_map_blocks
import random_token_blocks as random_token_blocks
import torch
from random_blocks import MAPS, TOKENS, Shape
from torch import nn


class Net(nn.Module):
    """Blocks one after the other, between a stem and a head."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        given = self.stem(given)
        for block in self.blocks:
            given = block(given)
        made: torch.Tensor = self.head(given)
        return made


class ToTokens(nn.Module):
    """[N, C, H, W] -> [N, H * W, C]."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given.flatten(2).transpose(1, 2)


class ToMap(nn.Module):
    """[N, H * W, C] -> [N, C, H, W]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given.transpose(1, 2).reshape(given.shape[0], -1, self.size, self.size)


class Words(nn.Module):
    """Token ids to vectors, with positions; gives its table away to a head that is tied to it."""

    def __init__(self, count: int, shape: Shape) -> None:
        super().__init__()
        self.table = nn.Embedding(count, shape.channels)
        self.positions = nn.Parameter(torch.randn(1, shape.places, shape.channels))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.table(given) + self.positions
        return found


class Pooled(nn.Module):
    """Mean or maximum over all places, then a linear layer."""

    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        self.kind = kind
        width = shape.channels * (shape.places if kind == "flat" else 1)
        self.last = nn.Linear(width, 3)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        if self.kind == "flat":
            given = given.flatten(1)
        elif given.dim() == 4:
            given = given.mean((2, 3)) if self.kind == "mean" else given.amax((2, 3))
        else:
            given = given.mean(1) if self.kind == "mean" else given[:, 0]
        made: torch.Tensor = self.last(given)
        return made


class Tied(nn.Module):
    """Scores of all words, from the table that the stem reads."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.last = nn.Linear(table.embedding_dim, table.num_embeddings, bias=False)
        self.last.weight = table.weight

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(given)
        return made


def random_model(seed: int, blocks: int | None = None) -> tuple[nn.Module, torch.Tensor]:
    """Return a network in float64 with random weights and statistics, in evaluation mode, and an input for it.

    Args:
        blocks: how many blocks, by default three to six.
    """
    chosen = random.Random(seed)
    torch.manual_seed(seed)
    count = blocks or chosen.randint(3, 6)
    words = chosen.random() < 0.35
    shape = Shape(chosen.choice([8, 12, 16]), 4, is_map=not words)
    stem: nn.Module = Words(7, shape) if words else nn.Conv2d(3, shape.channels, 3, padding=1)
    given = torch.randint(0, 7, (2, shape.places)) if words else torch.randn(2, 3, 4, 4, dtype=torch.float64)
    layers: list[nn.Module] = []
    while len(layers) < count:
        made, shape = _next(chosen, shape)
        layers.append(made)
    net = Net(stem, layers, _head(chosen, stem, shape))
    _fill(net)
    return net.double().eval(), given


def _next(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    if chosen.random() < 0.15:
        turned = Shape(shape.channels, shape.size, not shape.is_map)
        return (ToTokens() if shape.is_map else ToMap(shape.size)), turned
    table: list[Callable[[random.Random, Shape], tuple[nn.Module, Shape]]] = MAPS if shape.is_map else TOKENS
    return chosen.choice(table)(chosen, shape)


def _head(chosen: random.Random, stem: nn.Module, shape: Shape) -> nn.Module:
    if isinstance(stem, Words) and not shape.is_map and shape.channels == stem.table.embedding_dim:
        return Tied(stem.table) if chosen.random() < 0.5 else Pooled("first", shape)
    return Pooled(chosen.choice(["flat", "mean", "max"] if shape.is_map else ["flat", "mean", "first"]), shape)


def _fill(net: nn.Module) -> None:
    """Give everything that starts as zeros or ones other values."""
    with torch.no_grad():
        for name, held in [*net.named_parameters(), *net.named_buffers()]:
            if held.is_floating_point() and held.dim() == 1:
                held.normal_(0.3 if "var" not in name else 0, 0.5)
                if "var" in name:
                    held.abs_().add_(0.5)


def describe(net: nn.Module) -> str:
    """Return the names of the parts of a network, in their order."""
    assert isinstance(net, Net)
    return " > ".join(type(one).__name__ for one in (net.stem, *net.blocks, net.head))
