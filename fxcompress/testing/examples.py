"""Small models with what passes stumble over: residuals, tied weights, several results, dead weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fxcompress.contract import TrainingData


@dataclass(frozen=True)
class Example:
    """A model to run a pass on.

    Attributes:
        name: how reports and `check_pass(allow=...)` name it.
        model: is not changed.
        inputs: as `fxc.capture` takes them.
        calibration: batches for passes that look at activations; made of the inputs where None.
        train: data for passes that learn; made of the inputs and the model's own results where None.
    """

    name: str
    model: nn.Module
    inputs: Any
    calibration: Iterable[Any] | None = None
    train: TrainingData | None = None


def examples(seed: int = 0) -> list[Example]:
    """Return five models of a few hundred to a few thousand parameters with inputs of batch size 3, made from `seed`.

    Every one takes any batch size. The global random numbers are as before afterwards.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        image, ids = torch.randn(3, 3, 8, 8), torch.randint(11, (3, 5))
        made = [
            Example("convolutional", Convolutional(), (image,)),
            Example("perceptron", Perceptron(), (torch.randn(3, 6),)),
            Example("attention", Attention(), (ids, torch.ones(3, 5, dtype=torch.bool).tril(2))),
            Example("tied", Tied(), (ids,)),
            Example("separable", Separable(), {"image": image, "scale": 0.5}),
        ]
        for example in made:
            with_statistics(example.model).eval()
    return made


def with_statistics(model: nn.Module) -> nn.Module:
    """Give the batch norms of `model` statistics and scales as training leaves them; fresh ones do nothing."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return model


class Convolutional(nn.Module):
    """Convolutions with batch norm, a residual block, a weight that is standardised at every call, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(8)
        self.standardised = nn.Conv2d(8, 12, 3, stride=2)
        self.head = nn.Linear(12, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        inner = functional.relu(self.first_norm(self.first(x)), inplace=True)
        x = torch.relu(x + self.second_norm(self.second(inner)))
        weight = self.standardised.weight
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        x = torch.relu(functional.conv2d(x, weight, self.standardised.bias, stride=2))
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Linears with batch norm, layer norm and dropout, and a parameter that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(16, 16, bias=False),
            nn.LayerNorm(16),
            nn.GELU(),
            nn.Linear(16, 4),
        )
        self.unread = nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """An embedding and one block of attention with two heads under a mask; gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.projection = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embedding(ids)
        normed = self.norm(x)
        heads = [layer(normed).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value)]
        query, key, value = heads
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        hidden = x + self.projection(mixed.transpose(1, 2).flatten(2))
        return {"logits": self.head(hidden[:, -1]), "hidden": hidden}


class Tied(nn.Module):
    """An embedding whose weight is also that of the last linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.layer = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.layer(self.embedding(ids))))  # type: ignore[no-any-return]


class Separable(nn.Module):
    """Depthwise, 1x1 and transposed convolutions; takes a number beside the image and gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.expand = nn.Conv2d(3, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.project = nn.Conv2d(16, 12, 1)
        self.upsample = nn.ConvTranspose2d(12, 4, 2, stride=2)

    def forward(self, image: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        x = functional.relu6(self.norm(self.expand(self.depthwise(image)))) * scale
        x = self.project(x)
        return self.upsample(x), x
