"""Means of the values along one axis, for what a layer is given on the average."""

from __future__ import annotations

from typing import Self

import torch

from fxcompress.errors import InputError


class Mean:
    """The mean of every position of `axis` over all batches; shards merge by their sums."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.count = 0
        self.sums: torch.Tensor | None = None

    def update(self, tensor: torch.Tensor) -> None:
        """Add one batch.

        Raises:
            InputError: some of its values are not finite.
        """
        rows = tensor.detach().movedim(self.axis, 0).reshape(tensor.shape[self.axis], -1)
        sums = rows.double().sum(1)
        if not sums.isfinite().all():
            raise InputError("values that are not finite (NaN or infinite) have no mean")
        self._add(sums, rows.shape[1])

    def merge(self, other: Self) -> None:
        """Add what `other` has seen."""
        if other.sums is not None:
            self._add(other.sums, other.count)

    def value(self) -> torch.Tensor:
        """Return float64 [positions]; something must have been seen."""
        assert self.sums is not None
        return self.sums / self.count

    def _add(self, sums: torch.Tensor, count: int) -> None:
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += count
