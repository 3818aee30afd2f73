"""Small nets that teach and learn, and rows for them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc


class Images(nn.Module):
    """Two convolutions with batch norms, and a head."""

    def __init__(self, width: int = 12):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.second, self.head = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, 4)

    def forward(self, image):
        x = functional.max_pool2d(torch.relu(self.norm(self.first(image))), 2)
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Named(nn.Module):
    """Other names, other sizes, several results."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem, self.body = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.classifier = nn.Linear(width, 4)

    def forward(self, image):
        x = torch.relu(self.body(torch.relu(self.stem(image)))).mean((2, 3))
        return {"logits": self.classifier(x), "features": x}


def teacher() -> Images:
    torch.manual_seed(1)
    net = Images()
    net.norm.running_mean.normal_()
    return net.eval()


def images(count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.randint(4, (count,), generator=generator)


def batches(size: int = 16) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y = images()
    return list(zip(x.split(size), y.split(size), strict=True))


def data(**given) -> fxc.TrainingData:
    return fxc.TrainingData(batches(), functional.cross_entropy, **given)


EXAMPLE = (images()[0][:4],)
