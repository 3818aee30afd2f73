"""Observers that cut off tails: by a share of the values, the squared error, or the information lost."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch

from fxcompress.calibration.histogram import Histogram
from fxcompress.calibration.observer import Observer, scales_of
from fxcompress.errors import UsageError

# Ranges are tried that end at these shares of the smallest and of the largest value.
_SHARES = 128


class Clipping(Observer):
    """An observer that chooses the range from a histogram."""

    def __init__(self, axis: int | None = None) -> None:
        super().__init__(axis)
        self.histogram: Histogram | None = None

    @property
    def channels(self) -> int | None:
        return None if self.histogram is None else len(self.histogram.counts)

    def range(self, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.histogram is not None
        rows = [
            self._range(Seen(self.histogram, channel), low, high, symmetric) for channel in range(self.channels or 0)
        ]
        least, most = torch.tensor(rows, dtype=torch.double).T
        return least, most

    def _see(self, rows: torch.Tensor) -> None:
        self._add(Histogram.of(rows))

    def _join(self, other: Self) -> None:
        assert other.histogram is not None
        self._add(other.histogram)

    def _add(self, histogram: Histogram) -> None:
        if self.histogram is None:
            self.histogram = Histogram(histogram.exponents, histogram.counts, histogram.least, histogram.most)
        else:
            self.histogram.merge(histogram)

    @abstractmethod
    def _range(self, seen: Seen, low: int, high: int, symmetric: bool) -> tuple[float, float]:
        """Return the range for the values of one channel."""


class Seen:
    """The values of one channel, as a histogram has them.

    Attributes:
        counts: float64, of the bins that hold any values.
        centres: float64, the middles of these bins.
        edges: float64 [bins, 2], where each begins and ends.
        width: of a bin.
        least, most: the smallest and the largest value.
    """

    def __init__(self, histogram: Histogram, channel: int) -> None:
        counts, edges = histogram.counts[channel].cpu(), histogram.edges(channel)
        held = counts > 0
        self.counts = counts[held].double()
        self.edges = torch.stack((edges[:-1][held], edges[1:][held]), 1)
        self.centres = self.edges.mean(1)
        self.width = float(edges[1] - edges[0])
        self.least, self.most = float(histogram.least[channel]), float(histogram.most[channel])

    def quantile(self, share: float) -> float:
        """Return the value below which `share` of the values lie, to within the width of a bin."""
        reached = self.counts.cumsum(0)
        rank = share * float(reached[-1])
        place = min(int(torch.searchsorted(reached, rank)), len(reached) - 1)
        inside = (rank - float(reached[place] - self.counts[place])) / float(self.counts[place])
        value = float(self.edges[place, 0]) + min(1.0, inside) * self.width
        return min(max(value, self.least), self.most)


class Percentile(Clipping):
    """The range that holds `percent` of the values, as much being cut off above as below at the most."""

    def __init__(self, axis: int | None = None, percent: float = 99.999) -> None:
        super().__init__(axis)
        if not 50 < percent <= 100:
            raise UsageError(f"a percentile of {percent} is not between 50 and 100")
        self.percent = percent

    def settings(self) -> tuple[object, ...]:
        return (self.axis, self.percent)

    def _range(self, seen: Seen, low: int, high: int, symmetric: bool) -> tuple[float, float]:
        return seen.quantile(1 - self.percent / 100), seen.quantile(self.percent / 100)


class Searching(Clipping):
    """An observer that tries ranges and takes the one of the least cost."""

    def _range(self, seen: Seen, low: int, high: int, symmetric: bool) -> tuple[float, float]:
        least, most = min(seen.least, 0.0), max(seen.most, 0.0)
        shares = torch.arange(1, _SHARES + 1, dtype=torch.double) / _SHARES

        def best(lows: torch.Tensor, highs: torch.Tensor) -> tuple[float, float]:
            scales, zeros = scales_of(lows, highs, low, high, symmetric=symmetric)
            place = int(self._costs(seen, scales.double(), zeros.double(), low, high).argmin())
            return float(lows[place]), float(highs[place])

        if symmetric:
            largest = max(-least, most)
            return best(-largest * shares, largest * shares)
        found = best(least * shares, most * shares)
        found = best(torch.full_like(shares, found[0]), most * shares)
        return best(least * shares, torch.full_like(shares, found[1]))

    @abstractmethod
    def _costs(self, seen: Seen, scales: torch.Tensor, zeros: torch.Tensor, low: int, high: int) -> torch.Tensor:
        """Return the cost of every pair of `scales` and `zeros`."""


class MeanSquaredError(Searching):
    """The range with the least mean square of what rounding and cutting off change."""

    def _costs(self, seen: Seen, scales: torch.Tensor, zeros: torch.Tensor, low: int, high: int) -> torch.Tensor:
        levels = levels_of(seen, scales, zeros, low, high)
        errors = (levels - zeros[:, None]) * scales[:, None] - seen.centres
        return errors.square() @ seen.counts


class Entropy(Searching):
    """The range that loses the least information: least divergence of Kullback and Leibler (Migacz, 2017).

    What the values are distributed like, with the tails in the outermost bins, is compared to what is left of it when
    every integer stands for all bins that round to it. Ranges of fewer bins than integers are not tried. Zeros are left
    out: they are exact in every range, and where most values are zero (behind a ReLU) they would hide what is cut off.
    """

    def _costs(self, seen: Seen, scales: torch.Tensor, zeros: torch.Tensor, low: int, high: int) -> torch.Tensor:
        levels = levels_of(seen, scales, zeros, low, high).long() - low
        costs = torch.full_like(scales, torch.inf)
        for place, scale in enumerate(scales.tolist()):
            # The last one is the whole range, which is always tried.
            if scale >= seen.width or place == len(scales) - 1:
                ends = (torch.tensor([low, high]) - zeros[place]) * scale
                costs[place] = divergence(seen, levels[place], ends, high - low + 1)
        return costs


def levels_of(seen: Seen, scales: torch.Tensor, zeros: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Return float64 [ranges, bins]: the integers that the middles of bins round to."""
    return ((seen.centres / scales[:, None]).round() + zeros[:, None]).clamp(low, high)


def divergence(seen: Seen, levels: torch.Tensor, ends: torch.Tensor, count: int) -> float:
    """Return the divergence of the values from what integers of the range `ends` tell of them."""
    inside = (seen.centres >= ends[0] - seen.width) & (seen.centres <= ends[1] + seen.width)
    inside &= (seen.edges[:, 0] > 0) | (seen.edges[:, 1] <= 0)
    if not inside.any():
        return float("inf")
    kept, levels = seen.counts[inside], levels[inside]
    reference = kept.clone()
    reference[0] += seen.counts[seen.centres < ends[0] - seen.width].sum()
    reference[-1] += seen.counts[seen.centres > ends[1] + seen.width].sum()
    mass = torch.bincount(levels, kept, minlength=count)
    bins = torch.bincount(levels, minlength=count)
    spread = (mass / bins.clamp(min=1))[levels]
    reference, spread = reference / reference.sum(), spread / spread.sum()
    return float((reference * (reference / spread).log()).sum())
