"""Mixing predictions: a weighted sum of their logits, whose weights follow the gradient of the coding cost.

Paper: Mahoney, "Adaptive weighing of context models for lossless data compression", 2005.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fxcompress.coding.adaptive.logits import ONE, Whole, probabilities_of

WEIGHT_ONE = 1 << 16
_SLOWNESS = 12800  # one over the rate 0.02, and the fixed points of logits and errors


class Mixer:
    """Mixes the logits of some predictors.

    Args:
        predictors: how many there are.
        first: the weight of each in the beginning, as a share of one.
    """

    def __init__(self, predictors: int, first: float) -> None:
        self._weights = [int(first * WEIGHT_ONE)] * predictors
        self._logits: Sequence[Whole | int] = ()
        self._mixed = np.empty(0, np.int64)

    def mix(self, logits: Sequence[Whole | int], base: int, count: int) -> Whole:
        """Return the probabilities of `count` bits.

        Args:
            logits: of each predictor an array or one number for all bits, as distances from `base`.
            base: the logit that stands where the predictors say nothing.
        """
        total = np.full(count, base * WEIGHT_ONE, np.int64)
        for weight, one in zip(self._weights, logits, strict=True):
            total += one * weight
        total >>= 16
        self._logits, self._mixed = logits, probabilities_of(total)
        return self._mixed

    def learn(self, bits: Whole) -> None:
        """Move the weights towards what would have foretold `bits`, those of the last mix."""
        errors = bits * ONE - self._mixed
        total = int(errors.sum())
        slowness = _SLOWNESS * math.isqrt(256 * bits.size)
        for index, one in enumerate(self._logits):
            slope = one * total if isinstance(one, int) else int(one @ errors)
            self._weights[index] += slope * 16 // slowness
