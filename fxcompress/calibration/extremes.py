"""Observers of the smallest and largest values: of all batches, or a mean over them."""

from __future__ import annotations

from typing import Self

import torch

from fxcompress.calibration.observer import Observer
from fxcompress.errors import UsageError


class MinMax(Observer):
    """The range from the smallest to the largest value of all."""

    def __init__(self, axis: int | None = None) -> None:
        super().__init__(axis)
        self.least = self.most = torch.empty(0, dtype=torch.double)

    @property
    def channels(self) -> int | None:
        return len(self.least) or None

    def range(self, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return self.least, self.most

    def _see(self, rows: torch.Tensor) -> None:
        self._widen(rows.amin(1), rows.amax(1))

    def _join(self, other: Self) -> None:
        self._widen(other.least, other.most)

    def _widen(self, least: torch.Tensor, most: torch.Tensor) -> None:
        seen = len(self.least) > 0
        self.least = torch.minimum(self.least, least) if seen else least
        self.most = torch.maximum(self.most, most) if seen else most


class MovingAverage(Observer):
    """The means of the smallest and of the largest values of the batches, the last of which count most.

    Every batch weighs `1 - rate` times as much as the next one. Shards merge in their order.
    """

    def __init__(self, axis: int | None = None, rate: float = 0.05) -> None:
        super().__init__(axis)
        if not 0 < rate < 1:
            raise UsageError(f"a rate of {rate} is not between 0 and 1")
        self.rate = rate
        self.sums = torch.empty(2, 0, dtype=torch.double)
        self.weight = 0.0

    @property
    def channels(self) -> int | None:
        return self.sums.shape[1] or None

    def settings(self) -> tuple[object, ...]:
        return (self.axis, self.rate)

    def range(self, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        least, most = self.sums / self.weight
        return least, most

    def _see(self, rows: torch.Tensor) -> None:
        self._append(torch.stack((rows.amin(1), rows.amax(1))), 1.0, 1)

    def _join(self, other: Self) -> None:
        self._append(other.sums, other.weight, other.batches)

    def _append(self, sums: torch.Tensor, weight: float, batches: int) -> None:
        """Add what was summed up over `batches` more, after which all before has faded by so many steps."""
        faded = (1 - self.rate) ** batches
        self.sums = sums + faded * self.sums if self.weight else sums
        self.weight = weight + faded * self.weight
