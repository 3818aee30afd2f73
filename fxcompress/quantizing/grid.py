"""The grid of a weight: for each of its numbers the length of a step and the integer that stands for zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fxcompress.quantizing.rounding import Rounded, as_stored, finite, parameters_of, rows_of, scale_shape
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight
from fxcompress.weights.layer_rows import Layer

# Ranges are tried that are shorter by these shares than that of the smallest and the largest weight.
SHARES = tuple(1 - 0.02 * step for step in range(36))
# Weights that are tried at a time, few enough for the cache.
CHUNK = 2**16


@dataclass(frozen=True)
class Grid:
    """Scales as a weight stores them, and spread over the weight as its layer multiplies with it.

    Attributes:
        scales, zeros: as `Rounded` has them.
        steps, offsets: float64 [groups, outputs of a group, width].
        low, high: the smallest and the largest integer.
    """

    scales: torch.Tensor
    zeros: torch.Tensor | None
    steps: torch.Tensor
    offsets: torch.Tensor
    low: int
    high: int

    def rounded(self, integers: torch.Tensor, weight: Weight, layer: Layer) -> Rounded:
        """Return integers [groups, outputs, width] with their scales, as they are stored."""
        stored = layer.stored(integers.mT, weight.tensor).to(torch.int8)
        return Rounded(stored.contiguous(), self.scales, self.zeros)

    def floats(self, integers: torch.Tensor) -> torch.Tensor:
        """Return float64 what integers of the shape of `steps` stand for."""
        return (integers - self.offsets) * self.steps


def nearest(
    values: torch.Tensor, steps: torch.Tensor, offsets: torch.Tensor | float, low: int, high: int
) -> torch.Tensor:
    """Return the integers, as floats, that stand for what is next to `values`."""
    return (values / steps).round_().add_(offsets).clamp_(low, high)


def grid_of(weight: Weight, layer: Layer, matrix: torch.Tensor, scheme: Scheme, moments: torch.Tensor) -> Grid:
    """Return the grid whose ranges leave the least error where each weight is rounded by itself.

    What an error costs is the mean square of the input that the weight is multiplied with.

    Args:
        matrix: float64 [groups, outputs of a group, width], what is to be rounded.
        moments: float64 [groups, width], the sums of squares of the inputs.
    """
    like = torch.empty_like(weight.tensor, dtype=torch.float64)
    rows = rows_of(weight, layer.stored(matrix.mT, like), scheme)
    costs = rows_of(weight, layer.stored(moments[:, None].expand_as(matrix).mT, like), scheme)
    scales, zeros = best_parameters(rows, costs, scheme)

    def spread(numbers: torch.Tensor) -> torch.Tensor:
        return layer.matrix(as_stored(weight, numbers.double()[:, None].expand_as(rows), scheme)).mT.contiguous()

    shape = scale_shape(weight, scheme)
    offsets = torch.zeros_like(scales) if zeros is None else zeros
    stored = None if zeros is None else zeros.reshape(shape)
    return Grid(scales.reshape(shape), stored, spread(scales), spread(offsets), *scheme.range)


def closest(weight: Weight, scheme: Scheme) -> Rounded:
    """Return `weight` rounded to nearest, in the ranges of the least squared error."""
    rows = rows_of(weight, finite(weight).double(), scheme)
    scales, zeros = best_parameters(rows, torch.ones_like(rows), scheme)
    offsets = 0 if zeros is None else zeros.double()[:, None]
    integers = nearest(rows, scales.double()[:, None], offsets, *scheme.range).to(torch.int8)
    shape = scale_shape(weight, scheme)
    return Rounded(
        as_stored(weight, integers, scheme), scales.reshape(shape), None if zeros is None else zeros.reshape(shape)
    )


def best_parameters(
    rows: torch.Tensor, costs: torch.Tensor, scheme: Scheme
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the scale and the zero point of each row, of the range that costs least: as `parameters_of`.

    Args:
        rows: float64 [scales, weights that share one].
        costs: of the same shape, what the square of an error costs.
    """
    count = max(1, CHUNK // max(1, rows.shape[1]))
    parts = [_best(*pair, scheme) for pair in zip(rows.split(count), costs.split(count), strict=True)]
    zeros = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(zeros) if zeros else None


def _best(rows: torch.Tensor, costs: torch.Tensor, scheme: Scheme) -> tuple[torch.Tensor, torch.Tensor | None]:
    low, high = scheme.range
    # All that ranges follow from.
    ends = torch.stack((rows.amin(1), rows.amax(1)), 1)
    best = torch.full(rows.shape[:1], torch.inf, dtype=torch.float64, device=rows.device)
    found: tuple[torch.Tensor, torch.Tensor | None] | None = None
    for share in SHARES:
        scales, zeros = parameters_of((ends * share).float(), scheme)
        steps = scales.double()[:, None]
        offsets = torch.zeros_like(steps) if zeros is None else zeros.double()[:, None]
        errors = nearest(rows, steps, offsets, low, high).sub_(offsets).mul_(steps).sub_(rows)
        cost = errors.square_().mul_(costs).sum(1)
        found = (scales, zeros) if found is None else _better(found, (scales, zeros), cost < best)
        best = torch.minimum(best, cost)
    assert found is not None
    return found


def _better(
    old: tuple[torch.Tensor, torch.Tensor | None], new: tuple[torch.Tensor, torch.Tensor | None], taken: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return `new` where it is `taken`, `old` elsewhere."""
    scales = torch.where(taken, new[0], old[0])
    if old[1] is None or new[1] is None:
        return scales, None
    return scales, torch.where(taken, new[1], old[1])
