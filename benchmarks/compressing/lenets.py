"""The two networks of Deep Compression, as Caffe has them, and how each is trained, masked and clustered here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


def lenet_300_100() -> nn.Module:
    """Return two hidden layers of 300 and 100: 266,610 parameters."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )


def lenet_5() -> nn.Module:
    """Return two convolutions of 20 and 50 channels, 500 hidden: 431,080 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained and compressed.

    Attributes:
        build: makes the network, untrained.
        dense_error: percent of the test images that the dense one may get wrong.
        goal: how many times smaller than its float32 parameters a file with no higher error is to be.
        dense: the pass that trains it.
        before: passes before the first mask.
        sparsities: shares of zeros at which a file is written: the first by every seed, the others, on the way of
            one run, where the whole frontier is wanted.
        steps: masks on the way from one to the next, along a cubic.
        masked: the pass behind each of these.
        recovered: the pass behind the last.
        values: numbers of shared values; a file for each.
        tuned: the pass behind the clustering.
        batch: images in a batch.
        soft: share of the loss that compares with the dense network.
    """

    build: Callable[[], nn.Module]
    dense_error: float
    goal: float
    dense: str
    before: str
    sparsities: tuple[float, ...]
    steps: int
    masked: str
    recovered: str
    values: tuple[int, ...]
    tuned: str
    batch: int
    soft: float

    def masks(self, start: float, end: float) -> str:
        """Return the passes from one share of zeros to the next, each step smaller than the one before."""
        shares = [end + (start - end) * (1 - step / self.steps) ** 3 for step in range(1, self.steps + 1)]
        return ",".join(f"mask{{sparsity={share:.5f} scope=global}},{self.masked}" for share in shares)


RECIPES = {
    "lenet-300-100": Recipe(
        build=lenet_300_100,
        dense_error=1.65,
        goal=60,
        dense="finetune{epochs=10 optimizer=sgd lr=0.1 weight_decay=1e-4}",
        before="",
        sparsities=(0.95, 0.97, 0.985),
        steps=4,
        masked="finetune{epochs=1 optimizer=sgd lr=0.1 weight_decay=1e-4 schedule=constant}",
        recovered="finetune{epochs=20 optimizer=sgd lr=0.1 weight_decay=1e-4}",
        values=(16, 8),
        tuned="finetune{epochs=3 optimizer=adam lr=1e-3}",
        batch=256,
        soft=0.3,
    ),
    "lenet-5": Recipe(
        build=lenet_5,
        dense_error=0.85,
        goal=100,
        dense="finetune{epochs=6 optimizer=sgd lr=0.03 weight_decay=5e-4 warmup=0.1 clip=1}",
        before="prune{ratio=0.5},finetune{epochs=3 optimizer=sgd lr=0.03 weight_decay=1e-4 warmup=0.1 clip=1}",
        sparsities=(0.9, 0.95),
        steps=2,
        masked="finetune{epochs=1 optimizer=sgd lr=0.02 weight_decay=1e-4 schedule=constant clip=1}",
        recovered="finetune{epochs=4 optimizer=sgd lr=0.03 weight_decay=1e-4 clip=1}",
        values=(16, 8),
        tuned="finetune{epochs=1 optimizer=adam lr=1e-3}",
        batch=128,
        soft=0.5,
    ),
}
