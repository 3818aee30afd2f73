"""Learned maps from what a student sees to what its teacher does: part of the tapped copy, and dropped with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from fxcompress.distilling.pairs import Pair
from fxcompress.teaching.transforms import feature_dim


class Projector(torch.nn.Module):
    """A linear map of the channels at every place.

    Args:
        mine, theirs: channels of the student and of the teacher.
        dim: which dimension holds them.
        generator: what the weights are drawn from.
    """

    def __init__(self, mine: int, theirs: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = mine**-0.5
        self.weight = torch.nn.Parameter(torch.empty(theirs, mine).uniform_(-bound, bound, generator=generator))
        self.bias = torch.nn.Parameter(torch.zeros(theirs))
        self.dim = dim

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mapped = functional.linear(features.movedim(self.dim, -1), self.weight, self.bias)
        return mapped.movedim(-1, self.dim)


def projectors_for(pairs: Sequence[Pair], seed: int) -> torch.nn.ModuleList:
    """Return a module for each pair: a projector where the numbers of channels differ, else the identity."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.nn.ModuleList()
    for pair in pairs:
        dim = feature_dim(1 + len(pair.mine))
        mine, theirs = pair.mine[dim - 1], pair.theirs[dim - 1]
        made.append(torch.nn.Identity() if mine == theirs else Projector(mine, theirs, dim, generator))
    return made


def same_space(student: torch.Tensor, teacher: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of images with the larger of the two averaged to the size of the smaller."""
    if student.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return functional.adaptive_avg_pool2d(student, size), functional.adaptive_avg_pool2d(teacher, size)
