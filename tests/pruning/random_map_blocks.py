"""Further blocks of random networks on maps [N, C, H, W]: shuffles, resampling, weighed branches."""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from random_blocks import Shape, convolution, on_maps
from torch import nn

F = nn.functional


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        n, c, h, w = given.shape
        return given.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


@on_maps
def shuffled(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    groups = chosen.choice([2, 4])
    shuffle: nn.Module = Shuffle(groups) if chosen.random() < 0.7 else nn.ChannelShuffle(groups)
    return nn.Sequential(shuffle, convolution(chosen, shape.channels, 8, groups)), replace(shape, channels=8)


@on_maps
def resampled(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    channels = shape.channels
    up: list[tuple[nn.Module, int]] = [
        (nn.Sequential(nn.Conv2d(channels, 32, 1), nn.PixelShuffle(2)), 8),
        (nn.ConvTranspose2d(channels, 8, 2, stride=2, groups=chosen.choice([1, 4])), 8),
        (nn.Upsample(scale_factor=2, mode=chosen.choice(["nearest", "bilinear"])), channels),
    ]
    down: list[tuple[nn.Module, int]] = [
        (nn.MaxPool2d(2), channels),
        (nn.AvgPool2d(2), channels),
        (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, 8, 1)), 8),
        (nn.Conv2d(channels, 8, 3, stride=2, padding=1), 8),
    ]
    layer, outs = chosen.choice(up if shape.size < 4 else down)
    return layer, Shape(outs, shape.size * 2 if shape.size < 4 else shape.size // 2, is_map=True)


class Chosen(nn.Module):
    """Branches that are weighed by a softmax over them, channel by channel."""

    def __init__(self, branches: list[nn.Module], channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.weigh = nn.Linear(channels, channels * len(branches))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made = torch.stack([branch(given) for branch in self.branches], 1)
        scores = self.weigh(made.sum(1).mean((2, 3))).view(given.shape[0], len(self.branches), -1)
        return (made * scores.softmax(1)[..., None, None]).sum(1)


@on_maps
def weighed(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    branches: list[nn.Module] = [convolution(chosen, shape.channels, 8) for _ in range(2)]
    return Chosen(branches, 8), replace(shape, channels=8)


class LastAxis(nn.Module):
    """A block in which the channels stand last, as in ConvNeXt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 20), nn.Linear(20, channels)
        self.scale = nn.Parameter(torch.randn(channels))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        made = self.norm(self.deep(given).permute(0, 2, 3, 1))
        made = self.scale * self.down(F.gelu(self.up(made)))
        return given + made.permute(0, 3, 1, 2)


@on_maps
def last_axis(chosen: random.Random, shape: Shape) -> tuple[nn.Module, Shape]:
    return LastAxis(shape.channels), shape
