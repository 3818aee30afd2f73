"""What a range for all tokens and ranges of single tokens leave of an activation, as signal to noise ratios.

They follow from two sums that are gathered beside the range: the squares of the values, and those of the steps that
each token's own range would have. Rounding to steps of length s adds a mean square of s^2 / 12.
"""

from __future__ import annotations

import math
from typing import Self

import torch

from fxcompress.calibration import Observer

INTEGERS = 255


class Spread:
    """An observer of a range, and what is needed to compare it with ranges of tokens.

    Args:
        observer: chooses the range.
        tokens: whether the sums are wanted.

    Attributes:
        count: of values.
        squares: their sum of squares.
        steps: the sum over all values of the squared step of their token (the last axis).
    """

    def __init__(self, observer: Observer, *, tokens: bool) -> None:
        self.observer, self.tokens = observer, tokens
        self.count, self.squares, self.steps = 0, 0.0, 0.0

    def update(self, tensor: torch.Tensor) -> None:
        """See one batch of values.

        Raises:
            InputError: the observer refuses it.
        """
        self.observer.update(tensor)
        if self.tokens:
            values = torch.atleast_1d(tensor.detach())
            least, most = values.aminmax(dim=-1)
            steps = (most.clamp(min=0).double() - least.clamp(max=0).double()) / INTEGERS
            squares = float(values.double().square().sum())
            self._add(values.numel(), squares, values.shape[-1] * float(steps.square().sum()))

    def merge(self, other: Self) -> None:
        """Add what `other` has seen."""
        self.observer.merge(other.observer)
        self._add(other.count, other.squares, other.steps)

    def static_db(self, scale: float) -> float:
        """Return the ratio in dB of values that are rounded to steps of `scale`; what is cut off is not counted."""
        return _ratio_db(self.squares, self.count * scale**2)

    def token_db(self) -> float:
        """Return the ratio in dB of values that are rounded in steps of their token."""
        return _ratio_db(self.squares, self.steps)

    def _add(self, count: int, squares: float, steps: float) -> None:
        self.count, self.squares, self.steps = self.count + count, self.squares + squares, self.steps + steps


def _ratio_db(squares: float, steps: float) -> float:
    return 10 * math.log10(12 * squares / steps) if squares and steps else math.inf
