"""What the examples of distillation share: a teacher that is trained in a second, and half of it as the student."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import fxcompress as fxc

torch.manual_seed(0)
PATTERNS = torch.randn(10, 1, 12, 12)


class Net(nn.Module):
    """Images f32[batch, 1, 12, 12] -> logits f32[batch, 10]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.second, self.head = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.Linear(2 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(image)))
        logits: torch.Tensor = self.head(torch.relu(self.second(x)).mean((2, 3)))
        return logits


def images(count: int, seed: int) -> TensorDataset:
    """Return noisy images of ten patterns, and which it is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    return TensorDataset(PATTERNS[labels] + 1.2 * torch.randn(count, 1, 12, 12, generator=generator), labels)


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(images(1024, seed=1), batch_size=64, shuffle=True)


def accuracy(module: nn.Module) -> float:
    pixels, labels = images(512, seed=2).tensors
    with torch.no_grad():
        return float((module(pixels).argmax(1) == labels).double().mean())


def teacher() -> nn.Module:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(8):
        for pixels, labels in loader():
            optimizer.zero_grad()
            functional.cross_entropy(net(pixels), labels).backward()
            optimizer.step()
    return net.eval()


def pair() -> tuple[fxc.Captured, fxc.Result]:
    """Return a teacher as it was captured, and what is left of it when it is pruned."""
    captured = fxc.capture(teacher(), (images(2, seed=3).tensors[0],))
    return captured, fxc.compress(captured, None, "prune{ratio=0.6 round_to=1}")
