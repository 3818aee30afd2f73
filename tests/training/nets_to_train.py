"""A small net with all that a training run has a state of: batch norm, dropout, a tied weight."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import fxcompress as fxc


class Net(nn.Module):
    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 16)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.dropout(torch.relu(self.second(torch.relu(self.norm(self.first(x)))))))


def net(dropout: float = 0.3) -> Net:
    torch.manual_seed(3)
    return Net(dropout)


def rows(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, 6, generator=generator)
    return x, (x[:, :4] + x[:, 2:]).argmax(1)


def loader(generator: torch.Generator | None = None) -> DataLoader:
    return DataLoader(TensorDataset(*rows()), batch_size=8, shuffle=True, generator=generator)


def data(batches=None) -> fxc.TrainingData:
    return fxc.TrainingData(loader() if batches is None else batches, functional.cross_entropy)


def same(module, other) -> bool:
    ours, theirs = module.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
