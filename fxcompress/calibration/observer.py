"""What an observer is: it sees tensors batch by batch, and says which scale and zero point suit them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch

from fxcompress.errors import InputError, UsageError

_HINT = "leave the batch out, or mend it"


class Observer(ABC):
    """Gathers statistics of the values that a tensor takes, over batches and over processes.

    What two observers of one kind gathered, `merge` puts together: of shards in their order it is what one observer
    gathers of them all.

    Args:
        axis: the axis whose every position has a range of its own, None for one range.
    """

    def __init__(self, axis: int | None = None) -> None:
        self.axis = axis
        self.batches = 0

    def update(self, tensor: torch.Tensor) -> None:
        """See one batch of values, of any floating dtype.

        Raises:
            InputError: it has no values, some that are not finite, or another number of channels than before.
        """
        rows = self._rows(tensor.detach())
        if rows.numel() == 0:
            raise InputError("a tensor without values has no range", hint=_HINT)
        if not rows.isfinite().all():
            raise InputError("values that are not finite (NaN or infinite) have no range", hint=_HINT)
        if self.channels not in (None, len(rows)):
            raise InputError(f"{len(rows)} channels, {self.channels} before", hint=_HINT)
        self._see(rows.double())
        self.batches += 1

    def merge(self, other: Self) -> None:
        """Take over what `other`, which saw what came next, has gathered.

        Raises:
            UsageError: `other` is of another kind, or of another number of channels.
        """
        if type(other) is not type(self) or self.settings() != other.settings():
            raise UsageError(f"{other.described()} does not merge into {self.described()}")
        if other.batches == 0:
            return
        if self.channels not in (None, other.channels):
            raise UsageError(f"statistics of {other.channels} channels do not merge into those of {self.channels}")
        self._join(other)
        self.batches += other.batches

    def parameters(self, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 [channels] scales and int32 [channels] zero points for the integers `low` to `high`.

        One channel where there is no axis. Zero is always represented exactly; with `symmetric` by the integer in the
        middle of the range.

        Raises:
            UsageError: nothing was seen yet.
        """
        if self.batches == 0:
            raise UsageError("an observer that has seen nothing knows no range", hint="update it with a batch first")
        least, most = self.range(low, high, symmetric=symmetric)
        return scales_of(least, most, low, high, symmetric=symmetric)

    def settings(self) -> tuple[object, ...]:
        """Return what has to agree between observers that merge."""
        return (self.axis,)

    def described(self) -> str:
        return f"{type(self).__name__}{self.settings()}"

    def _rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the values as [channels, values of each]."""
        if self.axis is None:
            return tensor.reshape(1, -1)
        if not -tensor.dim() <= self.axis < tensor.dim():
            raise InputError(f"a tensor of {tensor.dim()} axes has no axis {self.axis}")
        return tensor.movedim(self.axis, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]

    @property
    @abstractmethod
    def channels(self) -> int | None:
        """How many channels were seen, None before the first batch."""

    @abstractmethod
    def range(self, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float64 [channels]: the smallest and largest value that the integers `low` to `high` should hold."""

    @abstractmethod
    def _see(self, rows: torch.Tensor) -> None:
        """Take up float64 [channels, values]."""

    @abstractmethod
    def _join(self, other: Self) -> None:
        """Take over what `other` has seen, which fits."""


def scales_of(
    least: torch.Tensor, most: torch.Tensor, low: int, high: int, *, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 scales and int32 zero points that map the ranges `least` to `most`, with zero, to `low..high`."""
    least, most = least.clamp(max=0), most.clamp(min=0)
    if symmetric:
        middle = (low + high + 1) // 2
        scales = torch.maximum(-least, most) / min(high - middle, middle - low)
        zeros = torch.full_like(scales, middle)
    else:
        scales = (most - least) / (high - low)
        zeros = torch.zeros_like(scales)
    # What is zero in float32 cannot divide: such values round to zero, whatever the scale.
    scales = torch.where(scales.float() > 0, scales, torch.ones_like(scales))
    if not symmetric:
        zeros = (low - least / scales).round().clamp(low, high)
    return scales.float(), zeros.int()
