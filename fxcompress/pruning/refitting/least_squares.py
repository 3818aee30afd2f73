"""Least squares by moments: what a fit needs of the data, accumulated in float64, and the fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Ridges are tried from the one that is asked for upwards; the data held out choose.
STEPS = (1.0, 1e2, 1e4, 1e6)


class Moments:
    """Second moments of inputs X and targets Y, group by group: X'X, X'Y and the sum of Y squared.

    Args:
        shape: groups, width, outputs: X is [groups, rows, width], Y is [groups, rows, outputs].
    """

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        groups, width, outputs = shape
        self.inputs = torch.zeros(groups, width, width, dtype=torch.float64, device=device)
        self.cross = torch.zeros(groups, width, outputs, dtype=torch.float64, device=device)
        self.targets = 0.0
        self.rows = 0

    def add(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add rows: inputs [groups, rows, width], targets [groups, rows, outputs]."""
        x, y = inputs.double(), targets.double()
        self.inputs += x.mT @ x
        self.cross += x.mT @ y
        self.targets += float(y.square().sum())
        self.rows += x.shape[1]

    def merge(self, other: Moments) -> None:
        """Add what `other` has seen."""
        self.inputs, self.cross = self.inputs + other.inputs, self.cross + other.cross
        self.targets, self.rows = self.targets + other.targets, self.rows + other.rows

    def __add__(self, other: Moments) -> Moments:
        made = Moments(self.cross.shape, self.cross.device)
        made.merge(self)
        made.merge(other)
        return made

    def finite(self) -> bool:
        return bool(self.inputs.isfinite().all() and self.cross.isfinite().all())

    def error(self, weight: torch.Tensor) -> float:
        """Return the sum of squares of `X weight - Y`, as a share of that of Y; weight f64[groups, width, outputs]."""
        residual = self.targets + float((weight * (self.inputs @ weight - 2 * self.cross)).sum())
        return max(residual, 0.0) / self.targets if self.targets > 0 else max(residual, 0.0)

    def fit(self, prior: torch.Tensor, damping: float) -> torch.Tensor | None:
        """Return the weight nearest to least squares, pulled towards `prior`; None where the moments are singular.

        Minimises |X W - Y|^2 + r |W - prior|^2, where r is `damping` times the mean diagonal of X'X. So directions
        that the data do not show keep the weights that they had.

        Args:
            prior: f64[groups, width, outputs].
        """
        diagonal = self.inputs.diagonal(dim1=1, dim2=2)
        ridge = damping * diagonal.mean(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        damped = self.inputs + torch.diag_embed(ridge.expand_as(diagonal))
        factor, failed = torch.linalg.cholesky_ex(damped)
        if bool(failed.any()):
            return None
        change = torch.cholesky_solve(self.cross - self.inputs @ prior, factor)
        return prior + change if bool(change.isfinite().all()) else None


@dataclass(frozen=True)
class Fit:
    """What became of one layer's weight.

    Attributes:
        weight: f64[groups, width, outputs], None where the old one is better on the data held out.
        before, after: the error on the data held out, as a share of the targets' sum of squares.
    """

    weight: torch.Tensor | None
    before: float
    after: float


def best_fit(learned: Moments, held_out: Moments, prior: torch.Tensor, damping: float) -> Fit:
    """Return the fit of the ridge that is best on the data held out, computed from all data; or keep `prior`."""
    before = held_out.error(prior)
    found, chosen = before, None
    for step in STEPS:
        weight = learned.fit(prior, damping * step)
        error = before if weight is None else held_out.error(weight)
        if error < found:
            found, chosen = error, step
    weight = None if chosen is None else (learned + held_out).fit(prior, damping * chosen)
    return Fit(weight, before, before if weight is None else found)
