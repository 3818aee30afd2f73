"""Histograms that grow: whatever the order of batches and merges, the same values give the same counts."""

from __future__ import annotations

from typing import Self

import torch

# Bins on either side of zero. The largest magnitude lies in the outer half of them.
HALF = 2048
BINS = 2 * HALF
_LEAST_EXPONENT = -1000


class Histogram:
    """Counts of values in equal bins around zero, for each of several channels.

    A bin is a power of two wide, and its edges are multiples of that: bin `k` holds `k * width <= value < (k+1) *
    width`. The width follows from the largest magnitude alone. Where a larger one comes, pairs of bins become one until
    it fits, which is exact. So the counts depend on the values only, not on how they were split.

    Attributes:
        exponents: int64 [channels], widths as powers of two.
        counts: int64 [channels, BINS], the first bin is `-HALF`.
        least, most: float64 [channels], the smallest and largest value themselves.
    """

    def __init__(self, exponents: torch.Tensor, counts: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> None:
        self.exponents, self.counts, self.least, self.most = exponents, counts, least, most

    @classmethod
    def of(cls, rows: torch.Tensor) -> Self:
        """Return the histogram of float64 [channels, values], all finite."""
        least, most = rows.amin(1), rows.amax(1)
        exponents = fitting(torch.maximum(-least, most))
        places = torch.ldexp(rows, -exponents[:, None]).floor().long() + HALF
        places += torch.arange(len(rows), device=rows.device)[:, None] * BINS
        counts = torch.bincount(places.flatten(), minlength=len(rows) * BINS).view(len(rows), BINS)
        return cls(exponents, counts, least, most)

    def merge(self, other: Self) -> None:
        """Add the counts of `other`, which has as many channels."""
        exponents = torch.maximum(self.exponents, other.exponents)
        self.counts = self.coarse(exponents) + other.coarse(exponents)
        self.exponents = exponents
        self.least = torch.minimum(self.least, other.least)
        self.most = torch.maximum(self.most, other.most)

    def coarse(self, exponents: torch.Tensor) -> torch.Tensor:
        """Return the counts in bins of the widths `exponents`, none of them narrower than now."""
        steps = exponents - self.exponents
        if not steps.any():
            return self.counts
        bins = torch.arange(-HALF, HALF, device=steps.device)
        # By more than all bins are wide, a value is either just below zero or not.
        places = (bins >> steps.clamp(max=20)[:, None]) + HALF
        return torch.zeros_like(self.counts).scatter_add_(1, places, self.counts)

    def edges(self, channel: int) -> torch.Tensor:
        """Return float64 [BINS + 1], where the bins of `channel` begin and end."""
        return torch.ldexp(torch.arange(-HALF, HALF + 1, dtype=torch.double), self.exponents[channel].cpu())


def fitting(largest: torch.Tensor) -> torch.Tensor:
    """Return the exponents of the narrowest bins that hold magnitudes of up to `largest`."""
    _, exponents = torch.frexp(largest)
    fits = exponents.long() - (HALF.bit_length() - 1)
    return torch.where(largest > 0, fits, torch.full_like(fits, _LEAST_EXPONENT)).clamp(min=_LEAST_EXPONENT)
