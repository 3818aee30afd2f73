"""What a training run is: the numbers of the loop, the optimizer, and the rate of every step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: passes over the data.
        optimizer: of `torch.optim`.
        lr: the largest rate.
        momentum: of sgd (with Nesterov's step where it is not zero); the first beta of the others.
        weight_decay: as the optimizer has it.
        schedule: how the rate falls from `lr`, to zero but for `constant`.
        warmup: share of the steps in which the rate rises to `lr`.
        precision: `bf16` computes the forward pass under `torch.autocast`.
        clip: largest norm of all gradients together.
        best: end with the weights that `evaluate` liked best at the end of an epoch.
        patience: stop after this many epochs in which `evaluate` found nothing better.
    """

    epochs: int = 1
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: float = 0.0
    precision: Literal["none", "bf16"] = "none"
    clip: float | None = None
    best: bool = False
    patience: int | None = None

    @property
    def evaluates(self) -> bool:
        return self.best or self.patience is not None

    @property
    def counts_steps(self) -> bool:
        """Whether a step's rate depends on how many there will be."""
        return self.schedule != "constant" or self.warmup > 0

    def rate(self, step: int, steps: int) -> float:
        """Return the rate of a step, counted from 0, of so many; any number will do where they are not counted."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        done = (step - rising) / max(1, steps - rising)
        if self.schedule == "cosine":
            return self.lr * (0.5 * (1 + math.cos(math.pi * done)))
        return self.lr * (1 - done) if self.schedule == "linear" else self.lr

    def optimizer_for(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return an optimizer of `torch.optim` that has seen no step yet."""
        rows = list(parameters)
        if self.optimizer == "sgd":
            nesterov = self.momentum > 0
            return torch.optim.SGD(
                rows, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=nesterov
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(rows, lr=self.lr, betas=(self.momentum, 0.999), weight_decay=self.weight_decay)
